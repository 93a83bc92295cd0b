--- What the terminal can show. Colours and Unicode are used only where a person looks at a terminal that has them.
local process = require("plumb.core").process

local terminal = {}

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local kind = environment("TERM")
local locale = environment("LC_ALL") or environment("LC_CTYPE") or environment("LANG") or ""

--- terminal.is_there, .has_colours, .has_unicode: booleans. NO_COLOR (no-color.org) takes the colours away.
terminal.is_there = process.isatty(0) and process.isatty(1)
terminal.has_colours = terminal.is_there and kind ~= nil and kind ~= "dumb" and environment("NO_COLOR") == nil
terminal.has_unicode = terminal.is_there and kind ~= "dumb" and locale:upper():find("UTF%-?8") ~= nil

local STYLES = { error = "1;31", prompt = "1;36", name = "36", quiet = "2", strong = "1" }

--- terminal.paint(style, text) -> the text, in the style where there are colours.
function terminal.paint(style, text)
  if not terminal.has_colours then return text end
  return ("\27[%sm%s\27[0m"):format(STYLES[style], text)
end

--- terminal.paint_prompt(style, text): the same for readline, which must be told what takes no room on the line.
function terminal.paint_prompt(style, text)
  if not terminal.has_colours then return text end
  return ("\1\27[%sm\2%s\1\27[0m\2"):format(STYLES[style], text)
end

--- terminal.width() -> columns
function terminal.width() return terminal.is_there and process.terminal_width() or 80 end

--- terminal.dots: what stands for that which is left out
terminal.dots = terminal.has_unicode and "…" or "..."

return terminal
