--- Questions at the prompt: ?name explains, ??name shows the source, ?"words" searches the reference.
local docstrings = require "plumb.help.docstrings"
local globals = require "plumb.prompt.globals"
local help = require "plumb.help"
local sources = require "plumb.help.sources"

local question = {}

-- The value of an expression such as nn.Linear or model[1]; a method may be named with its colon.
local function value_of(expression)
  local chunk = load("return " .. expression:gsub(":%s*([%a_][%w_]*)%s*$", ".%1"), "=question")
  if not chunk then return nil end
  local ok, value = pcall(chunk)
  if ok then return value end
end

local function show_source(expression)
  local f = value_of(expression)
  local meta = type(f) == "table" and getmetatable(f)
  if type(meta) == "table" and type(meta.__call) == "function" then f = meta.__call end
  if type(f) ~= "function" then return print(("'%s' is not a function."):format(expression)) end
  local info = debug.getinfo(f, "S")
  local lines = info.what ~= "C" and sources.lines(info.source, info.linedefined, info.lastlinedefined)
  if not lines then return print(("'%s' is written in C, or its text was not kept."):format(expression)) end
  print(("-- %s:%d"):format(info.short_src, info.linedefined))
  print(table.concat(lines, "\n"))
end

-- What has no documentation of its own is shown, as far as it is known.
local function explain(expression)
  local value = value_of(expression)
  local text = value ~= nil and help.text(value) or help.text(expression)
  if text then return help.print(text) end
  if value ~= nil then
    return print(("There is no documentation of %s: %s"):format(expression, require("plumb.prompt.display").brief(value)))
  end
  local found = help.search(expression)
  if #found > 0 then return print(help.search_text(expression)) end
  local meant = require "plumb.prompt.nearest"(expression, globals.names())
  print(("Nothing is known of '%s'%s."):format(expression, meant and ("; did you mean '" .. meant .. "'?") or ""))
end

local function introduce()
  local header = docstrings.of_file(package.searchpath("plumb.prompt", package.path))
  help.print(header)
end

--- question.answer(text) -> a function that answers the question in a line that begins with `?`
function question.answer(text)
  local marks, rest = text:match("^%s*(%?+)%s*(.-)[%s;]*$")
  return function()
    local words = rest:match('^"(.*)"$') or rest:match("^'(.*)'$")
    if rest == "" then introduce()
    elseif words then print(help.search_text(words))
    elseif #marks > 1 then show_source(rest)
    else explain(rest) end
  end
end

return question
