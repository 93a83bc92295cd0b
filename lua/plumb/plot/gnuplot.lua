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
}

-- What a program said, without the characters that steer a terminal and without empty lines.
local function clean(said)
  return (said:gsub("[^\n\t -\x7E\x80-\xFF]", "?"):gsub("\n%s*\n", "\n"):gsub("^%s*\n", ""):gsub("%s+$", ""))
end

-- Remarks that tell a user nothing: it guesses the width of texts, and empty cells are meant to be empty.
local function without_known(said)
  return (said:gsub("[^\n]*difficulty fitting plot titles[^\n]*", "")
    :gsub("[^\n]*matrix contains missing or undefined values[^\n]*", ""))
end

local function trouble(result, kind, timeout)
  local said = clean(result.stderr)
  said = said ~= "" and ":\n" .. said or ""
  if result.interrupted then return "gnuplot was interrupted" end
  if result.timed_out then return ("gnuplot did not finish within %g seconds and was ended%s"):format(timeout, said) end
  if result.signal then return ("gnuplot was ended by signal %d%s"):format(result.signal, said) end
  if result.code ~= 0 then return ("gnuplot failed (exit code %d)%s"):format(result.code, said) end
  if not IS_WHOLE[kind](result.stdout) then return ("gnuplot made no whole %s%s"):format(kind, said) end
  return nil
end

local function choose_timeout(options)
  local timeout = options.timeout or tonumber(os.getenv("PLUMB_GNUPLOT_TIMEOUT") or "") or DEFAULT_TIMEOUT
  if timeout <= 0 then timeout = DEFAULT_TIMEOUT end
  return was_stuck and math.min(timeout, TIMEOUT_AFTER_STUCK) or timeout
end

--- gnuplot.draw(script, kind, options): what gnuplot draws for the script, as a string of bytes; nil and a message when it
--- can't be started, fails, dies, or is stuck. kind is "svg", "png", "pdf" or "text". options: gnuplot (the program;
--- otherwise $PLUMB_GNUPLOT, otherwise gnuplot along PATH), timeout (seconds; otherwise $PLUMB_GNUPLOT_TIMEOUT or 30).
function gnuplot.draw(script, kind, options)
  local program = options.gnuplot or os.getenv("PLUMB_GNUPLOT") or "gnuplot"
  local timeout = choose_timeout(options)
  local result, message = process.run({ program, "-d", "-" }, { stdin = script, timeout = timeout })
  if not result then
    return nil, message .. " (install gnuplot; Debian's package is gnuplot-nox)"
  end
  was_stuck = was_stuck or result.timed_out
  message = trouble(result, kind, timeout)
  if message then return nil, message end
  local said = clean(without_known(result.stderr))
  if said ~= "" then gnuplot.warn(said, "gnuplot says: " .. said) end
  return result.stdout
end

return gnuplot
