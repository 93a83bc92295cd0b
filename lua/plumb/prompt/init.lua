--- The prompt: type Lua. An expression shows its value; plumb's names are globals.
--
--   ?name         explains a function, a layer, an operator (also help(name)); ?"words" searches
--   ??name        shows the source of a Lua function
--   Tab           completes names, methods, options, modules and files
--   statement;    shows no value
--   _, _1, _2     the last value, and earlier ones
--   who()         lists what you made; time(f) and bench(f) tell how long f takes; traceback() all about the last error
--   Ctrl-C        stops what runs, and everything stays as it is; Ctrl-D leaves
--
-- A global that is not defined is an error. ~/.config/plumb/init.lua runs at the start.

-- bindings/repl.c reads statements, runs them, and calls the functions here.
local terminal = require "plumb.prompt.terminal"
local globals = require "plumb.prompt.globals"
local display = require "plumb.prompt.display"
local sources = require "plumb.help.sources"

local prompt = { next_name = sources.next_name }

-- What is seldom needed is loaded when it is.
local function on_demand(module, name)
  return function(...) return require(module)[name](...) end
end

prompt.explain_syntax = on_demand("plumb.prompt.errors", "explain_syntax")
prompt.complete = on_demand("plumb.prompt.complete", "complete")
prompt.question = on_demand("plumb.prompt.question", "answer")

-- No function between: errors.explain counts the calls above it.
function prompt.explain(message) return require("plumb.prompt.errors").explain(message) end

-- prompt.begin(text, name): a statement is about to run.
function prompt.begin(text, name)
  sources.keep(text, name)
  globals.note_locals(text)
end

-- Does the statement end with a `;` that is not part of a comment?
local function is_muted(text)
  return text:find(";%s*$") ~= nil and not load("return " .. text .. "\n;")
end

-- prompt.show(text, ...): shows the values of a statement, and keeps the first one.
function prompt.show(text, ...)
  local values = table.pack(...)
  if values.n == 0 then return end
  if values[1] ~= nil then globals.keep(values[1]) end
  if not is_muted(text) then display.show(values) end
end

local function leave() os.exit(true, true) end

-- prompt.open() -> the functions that the C side calls
function prompt.open()
  local library = require "plumb"
  if type(library) ~= "table" then error("module 'plumb' is a " .. type(library) .. " value", 0) end
  globals.open(library)
  globals.offer("who", on_demand("plumb.prompt.who", "who"))
  globals.offer("traceback", on_demand("plumb.prompt.errors", "traceback"))
  globals.offer("exit", leave)
  globals.offer("quit", leave)
  if terminal.has_colours then
    rawset(_G, "_PROMPT", rawget(_G, "_PROMPT") or terminal.paint_prompt("prompt", "> "))
    rawset(_G, "_PROMPT2", rawget(_G, "_PROMPT2") or terminal.paint_prompt("quiet", ">> "))
  end
  return prompt
end

-- The user's start-up file.
local function start_up_file()
  local folder = os.getenv("XDG_CONFIG_HOME")
  if not folder or folder:sub(1, 1) ~= "/" then -- the XDG specification: ignore relative paths
    local home = os.getenv("HOME")
    folder = home and home .. "/.config"
  end
  return folder and folder .. "/plumb/init.lua"
end

-- prompt.greet(): what the prompt does first.
function prompt.greet()
  if terminal.is_there then
    io.stdout:write(terminal.paint("quiet", "?name explains, Tab completes, Ctrl-C stops, Ctrl-D leaves."), "\n")
  end
  local path = start_up_file()
  local file = path and io.open(path, "rb")
  if not file then return end
  file:close()
  local chunk, message = loadfile(path)
  if not chunk then error(message, 0) end
  chunk()
end

return prompt
