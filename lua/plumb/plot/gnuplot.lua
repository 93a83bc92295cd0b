--- Runs gnuplot and keeps its troubles from being the caller's: whatever happens to it, draw returns nil and a message.
--
-- gnuplot draws to its standard output, so no file name of the user's ever reaches it.

local process = require("plumb.core").process

local gnuplot = {}

local DEFAULT_TIMEOUT = 30       -- seconds for one figure
local TIMEOUT_AFTER_STUCK = 2    -- a gnuplot that was stuck once is not waited for again

local was_stuck = false
local warned = {}

--- gnuplot.warn(topic, message): tells the user on standard error, once per topic and process.
function gnuplot.warn(topic, message)
  if warned[topic] then return end
  warned[topic] = true
  io.stderr:write("plumb: ", message, "\n")
end

-- What a whole drawing looks like, so that one cut short by a dying gnuplot is never taken for a figure.
local IS_WHOLE = {
  svg = function(bytes) return bytes:find("</svg>%s*$") end,
  png = function(bytes) return bytes:find("^\x89PNG\r\n\x1A\n") and bytes:find("IEND....$") end,
  pdf = function(bytes) return bytes:find("^%%PDF%-") and bytes:find("%%%%EOF%s*$") end,
  text = function(bytes) return bytes:find("%S") end,
  sixel = function(bytes) return bytes:find("\27P") and bytes:find("\27\\%s*$") end,
}

-- Remarks that tell a user nothing: it guesses the width of texts (even of those it draws as they are, as if they held its
-- own markup), empty cells are meant to be empty, and Qt finds a folder by itself.
local KNOWN = { "[^\n]*difficulty fitting plot titles[^\n]*", "[^\n]*enhanced text mode parser[^\n]*",
  "[^\n]*matrix contains missing or undefined values[^\n]*", "[^\n]*QStandardPaths: [^\n]*" }

--- gnuplot.clean(said): what gnuplot said, without the characters that steer a terminal, without empty lines, and without
--- remarks that tell a user nothing.
function gnuplot.clean(said)
  for _, remark in ipairs(KNOWN) do said = said:gsub(remark, "") end
  return (said:gsub("[^\n\t -\x7E\x80-\xFF]", "?"):gsub("\n%s*\n", "\n"):gsub("^%s*\n", ""):gsub("%s+$", ""))
end

--- gnuplot.program(options): the program's name: options.gnuplot, otherwise $PLUMB_GNUPLOT, otherwise gnuplot along PATH.
function gnuplot.program(options) return options and options.gnuplot or os.getenv("PLUMB_GNUPLOT") or "gnuplot" end

--- gnuplot.timeout(options): how many seconds to wait for one figure: options.timeout, otherwise $PLUMB_GNUPLOT_TIMEOUT or 30,
--- but not long after one was stuck.
function gnuplot.timeout(options)
  if options and options.timeout then return options.timeout end
  local timeout = tonumber(os.getenv("PLUMB_GNUPLOT_TIMEOUT") or "") or DEFAULT_TIMEOUT
  if not (timeout > 0) then timeout = DEFAULT_TIMEOUT end
  return was_stuck and math.min(timeout, TIMEOUT_AFTER_STUCK) or timeout
end

--- gnuplot.note_stuck(): no later figure is waited for as long as this one was.
function gnuplot.note_stuck() was_stuck = true end

--- gnuplot.advise(message): why it could not be started, and what to do.
function gnuplot.advise(message) return message .. " (install gnuplot; Debian's package is gnuplot-nox)" end

local function trouble(result, kind, timeout)
  local said = gnuplot.clean(result.stderr)
  said = said ~= "" and ":\n" .. said or ""
  if result.interrupted then return "gnuplot was interrupted" end
  if result.timed_out then return ("gnuplot did not finish within %g seconds and was ended%s"):format(timeout, said) end
  if said:find("unknown or ambiguous terminal type", 1, true) then
    return ("this gnuplot draws no %s, it was built without that"):format(kind)
  end
  if result.signal then return ("gnuplot was ended by signal %d%s"):format(result.signal, said) end
  if result.code ~= 0 then return ("gnuplot failed (exit code %d)%s"):format(result.code, said) end
  if not IS_WHOLE[kind](result.stdout) then return ("gnuplot made no whole %s%s"):format(kind, said) end
  return nil
end

--- gnuplot.draw(script, kind, options): what gnuplot draws for the script, as a string of bytes; nil and a message when it
--- can't be started, fails, dies, or is stuck. kind is "svg", "png", "pdf", "text" or "sixel". options: gnuplot (the program)
--- and timeout in seconds.
function gnuplot.draw(script, kind, options)
  local timeout = gnuplot.timeout(options)
  local result, message = process.run({ gnuplot.program(options), "-d", "-" }, { stdin = script, timeout = timeout })
  if not result then return nil, gnuplot.advise(message) end
  was_stuck = was_stuck or result.timed_out
  message = trouble(result, kind, timeout)
  if message then return nil, message end
  local said = gnuplot.clean(result.stderr)
  if said ~= "" then gnuplot.warn(said, "gnuplot says: " .. said) end
  return result.stdout
end

local terminals = {}
local ASK_SECONDS = 5

--- gnuplot.has_terminal(name, options): can this gnuplot draw on the terminal called `name`? It is asked once.
function gnuplot.has_terminal(name, options)
  local program = gnuplot.program(options)
  if not terminals[program] then
    local timeout = math.min(ASK_SECONDS, gnuplot.timeout(options))
    local result = process.run({ program, "-d", "-" }, { stdin = "print GPVAL_TERMINALS\n", timeout = timeout })
    terminals[program] = " " .. (result and result.stderr:gsub("%s+", " ") or "") .. " "
  end
  return terminals[program]:find(" " .. name .. " ", 1, true) ~= nil
end

return gnuplot
