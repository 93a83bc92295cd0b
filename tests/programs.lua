--- Running plumb and other programs as a user does, for the specs: with arguments and files, or on a pseudo-terminal.
local process = require("plumb.core").process
local run_program, time = process.run, process.time

local PATIENCE_SECONDS = 120 -- with a terminal that does not show what it should

local programs = {}

--- capture(command) -> what a shell command prints, without the last newline
function programs.capture(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

programs.ROOT = programs.capture("cd \"$(dirname '" .. debug.getinfo(1, "S").source:sub(2) .. "')/..\" && pwd")
programs.PLUMB = programs.capture("realpath '" .. (os.getenv("PLUMB") or programs.ROOT .. "/plumb") .. "'")

--- quote(text) -> the text as one word of a shell command
function programs.quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
local quote = programs.quote

--- read_file(path) -> the file's bytes, "" where there is none
function programs.read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a") or ""
end
local read_file = programs.read_file

function programs.write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

-- ---- folders ----

local folders = {}

--- new_folder() -> the path of a temporary folder; remove_folders() removes all of them, at the end of a spec.
function programs.new_folder()
  local folder = programs.capture("mktemp -d")
  folders[#folders + 1] = folder
  return folder
end

function programs.remove_folders()
  for _, path in ipairs(folders) do os.execute("rm -rf " .. quote(path)) end
  folders = {}
end

-- What a program does not inherit from whoever runs the tests: settings of Lua, and the user's own files.
local CLEAN = "-u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH -u LUA_PATH_5_4 -u NO_COLOR XDG_CONFIG_HOME=/nonexistent"

--- run(program, arguments, options) -> {code =, out =, err =}. Options: input (text for standard input), environment ("NAME=value
--- ..."), folder (working directory).
function programs.run(program, arguments, options)
  options = options or {}
  local input, out, err = os.tmpname(), os.tmpname(), os.tmpname()
  programs.write_file(input, options.input or "")
  local words = { quote(program) }
  for _, argument in ipairs(arguments) do words[#words + 1] = quote(argument) end
  local command = ("cd %s && env %s %s timeout 60 %s <%s >%s 2>%s"):format(quote(options.folder or "/"), CLEAN,
    options.environment or "", table.concat(words, " "), input, out, err)
  local _, _, code = os.execute(command)
  local result = { code = code, out = read_file(out), err = read_file(err) }
  os.remove(input)
  os.remove(out)
  os.remove(err)
  return result
end

--- plumb(arguments, options): run for plumb
function programs.plumb(...) return programs.run(programs.PLUMB, ...) end

-- ---- the pseudo-terminal ----

--- open_terminal(options) -> plumb's prompt on a pseudo-terminal. Methods: type(keys); expect(text) waits until the text appears
--- after what was already expected, and returns what stood before it; press_until(keys, text, seconds = 1) types keys every so
--- many seconds until it does;
--- finish() waits for the end of the program and returns its exit code, and `screen` is then all that was shown. Options:
--- state (folder for the history), environment, arguments.
function programs.open_terminal(options)
  options = options or {}
  local record = os.tmpname()
  local state = options.state or programs.new_folder()
  local command = ("cd / && env %s TERM=xterm LC_ALL=C.UTF-8 XDG_STATE_HOME=%s %s timeout 300 script -qefc %s %s >/dev/null 2>&1")
    :format(CLEAN, quote(state), options.environment or "", quote("exec " .. quote(programs.PLUMB) .. " "
      .. (options.arguments or "")), record)
  local pipe = assert(io.popen(command, "w"))
  pipe:setvbuf("no")
  local terminal = { position = 1, state = state }

  function terminal.type(_, keys) pipe:write(keys) end

  -- Types `keys`, if there are any, again and again until the text appears.
  local function wait(self, text, keys, seconds)
    local started, next_time, turn = time(), 0, 0
    repeat
      if keys and time() >= next_time then
        pipe:write(keys)
        next_time = time() + (seconds or 1)
      end
      local screen = read_file(record)
      local first, last = screen:find(text, self.position, true)
      if last then
        local before = screen:sub(self.position, first - 1)
        self.position = last + 1
        return before
      end
      turn = turn + 1
      run_program { "sleep", turn < 20 and "0.01" or "0.05" }
    until time() - started > PATIENCE_SECONDS
    error(("the terminal never showed %q; it shows %q"):format(text, read_file(record):sub(self.position)), 3)
  end

  function terminal:expect(text) return wait(self, text) end
  function terminal:press_until(keys, text, seconds) return wait(self, text, keys, seconds) end

  function terminal:finish()
    local _, _, code = pipe:close()
    self.screen = read_file(record)
    os.remove(record)
    return code
  end

  terminal:expect("> ")
  return terminal
end

return programs
