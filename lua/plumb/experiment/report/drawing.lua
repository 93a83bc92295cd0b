--- A gnuplot figure (SVG) as a part of an HTML page: it scales with its column, its ids do not meet those of other figures, and
--- nothing in it can run or load anything. Whatever is not known to be harmless refuses the figure.
local words = require "plumb.experiment.report.words"

local drawing = {}

local ELEMENTS = {}
for name in ([[svg g defs title desc path rect circle ellipse line polyline polygon text tspan use image clipPath mask pattern
    marker filter feFlood feComposite linearGradient radialGradient stop]]):gmatch("%w+") do
  ELEMENTS[name] = true
end

local ENTITIES = { amp = true, lt = true, gt = true, quot = true, apos = true }

-- Text that stands in the file, with its entities; stray ampersands and the like are escaped.
local function checked_text(raw)
  return (raw:gsub("&(#?%w*;?)", function(name)
    if ENTITIES[name:match("^(%a+);$")] or name:find("^#%d+;$") or name:find("^#x%x+;$") then return nil end
    return "&amp;" .. name
  end):gsub("[<>\"]", words.ENTITIES))
end

local function refuse(format, ...) error(format:format(...), 0) end

-- Ids and what refers to them get the prefix; references lead to this figure or are pictures within it.
local function checked_value(name, value, prefix)
  value = value:gsub("%s+", " ")
  if name == "id" then return prefix .. value end
  if name == "href" or name == "xlink:href" then
    if value:find("^#") then return "#" .. prefix .. value:sub(2) end
    if value:find("^data:image/png;base64,[%w+/= ]*$") then return value end
    refuse("it refers to '%s'", value:sub(1, 60))
  end
  local plain = value:lower():gsub("url%(%s*['\"]?#", "")
  if plain:find("url", 1, true) or plain:find("[\\@]") or plain:find("javascript", 1, true) then
    refuse("its %s is '%s'", name, value:sub(1, 60))
  end
  return (value:gsub("(url%(%s*['\"]?#)", function(opening) return opening .. prefix end))
end

local TALL = 0.7 -- height over width
local ROOT_DROPS = { width = true, height = true, version = true }

-- ' name="value"' for each attribute; of the root also the table of all.
local function attributes_of(raw, prefix, is_root)
  local out, all, rest = {}, {}, raw
  while rest:find("%S") do
    local name, quote, value, after = rest:match("^%s+([%a_][%w_:.-]*)%s*=%s*(['\"])(.-)%2(.*)$")
    if not name then refuse("an attribute is not readable, near '%s'", rest:sub(1, 40)) end
    if quote == "'" then value = value:gsub('"', "&quot;") end
    if name:lower():find("^on") then refuse("it has a script (%s)", name) end
    all[name], rest = value, after
    if not name:find("^xmlns") and not (is_root and ROOT_DROPS[name]) then
      name = name == "xlink:href" and "href" or name
      if name:find(":", 1, true) and name ~= "xml:space" then refuse("it has an attribute %s", name) end
      out[#out + 1] = (' %s="%s"'):format(name, checked_text(checked_value(name, value, prefix)))
    end
  end
  return table.concat(out), all
end

local function root_tag(raw, prefix, label)
  local written, all = attributes_of(raw, prefix, true)
  if not all.viewBox then
    local width, height = (all.width or ""):match("^[%d.]+"), (all.height or ""):match("^[%d.]+")
    if not width or not height then refuse("its size is not given") end
    written = written .. (' viewBox="0 0 %s %s"'):format(width, height)
  end
  local width, height = (' ' .. written):match('viewBox="%S+ %S+ ([%d.]+) ([%d.]+)"')
  if not width then refuse("its viewBox is not readable") end
  return ('<svg role="img" aria-label="%s"%s>'):format(words.escape(label), written), height / width > TALL
end

-- The position behind what is neither element nor text: declarations and comments.
local function skip(text, at)
  for opening, closing in pairs { ["<?"] = "?>", ["<!--"] = "-->", ["<!DOCTYPE"] = ">" } do
    if text:sub(at, at + #opening - 1) == opening then
      local _, last = text:find(closing, at, true)
      return last and last + 1 or #text + 1
    end
  end
end

local function convert(text, prefix, label)
  local out, open, at, tall = {}, {}, text:find("<", 1, true) or #text + 1, nil
  while at <= #text do
    local after = skip(text, at)
    if not after then
      local closing, name, raw, single
      closing, name, raw, single, after = text:match("^<(/?)(%a[%w:]*)([^<>]*)(/?)>()", at)
      if not name then refuse("a tag is not readable, near '%s'", text:sub(at, at + 40)) end
      if raw:sub(-1) == "/" then raw, single = raw:sub(1, -2), "/" end
      if not ELEMENTS[name] then refuse("it has an element <%s>", name:sub(1, 40)) end
      if closing == "/" then
        if open[#open] ~= name then refuse("</%s> closes nothing", name) end
        open[#open], out[#out + 1] = nil, "</" .. name .. ">"
      else
        local is_root = #out == 0
        if is_root ~= (name == "svg") then refuse("it is no single <svg>") end
        if is_root then out[1], tall = root_tag(raw, prefix, label) end
        if not is_root then out[#out + 1] = ("<%s%s>"):format(name, (attributes_of(raw, prefix))) end
        if single == "/" then out[#out] = out[#out]:sub(1, -2) .. "/>" else open[#open + 1] = name end
      end
      if #open == 0 then break end
    end
    at = text:find("<", after, true) or #text + 1
    local between = text:sub(after, at - 1)
    if #open > 0 then
      out[#out + 1] = between:find("%S") and checked_text(between) or between:find("\n") and "\n" or between
    end
  end
  if #open > 0 or #out == 0 then refuse("it ends too early") end
  return table.concat(out), tall
end

--- drawing.inline(svg, prefix, label) -> the figure as HTML, nil, and whether it is tall; or nil and a message. prefix: for its
--- ids, unique on the page; label: what it shows, for those who can't see it.
function drawing.inline(svg, prefix, label)
  if not utf8.len(svg) then return nil, "it is not UTF-8" end
  local ok, result, tall = pcall(convert, svg, prefix, label)
  if ok then return result, nil, tall end
  return nil, result
end

return drawing
