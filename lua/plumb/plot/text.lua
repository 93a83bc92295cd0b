--- Text and numbers in gnuplot's language, such that nothing a user writes can be more than text.
--
-- gnuplot runs commands found in backquotes inside double-quoted strings, expands @macros outside of quotes, takes a
-- line that starts with ! for the shell's, and opens files named "| cmd" or "< cmd" as pipes. Inside single quotes none
-- of this happens. Their one escape, '' for an apostrophe, fails where it begins a string ('''x' ends after two), so a text
-- goes out as single-quoted pieces joined with the constants "\047" (an apostrophe; as "'" it would, to those who look for
-- @macros, begin or end a quotation) and "\n".

local text = {}

local REPLACEMENT = "\u{FFFD}"

-- Control characters (they would break XML, and steer a terminal) and the two code points that XML forbids.
local function is_printable(code)
  return code >= 0x20 and not (code >= 0x7F and code < 0xA0) and code ~= 0xFFFE and code ~= 0xFFFF
end

--- text.clean(value): valid UTF-8 without control characters other than newlines; what is invalid becomes U+FFFD.
function text.clean(value)
  value = tostring(value):gsub("\r\n?", "\n"):gsub("\t", " ")
  local parts, position = {}, 1
  while position <= #value do
    local _, bad = utf8.len(value, position)
    for _, code in utf8.codes(value:sub(position, (bad or #value + 1) - 1)) do
      parts[#parts + 1] = (code == 10 or is_printable(code)) and utf8.char(code) or REPLACEMENT
    end
    if not bad then break end
    parts[#parts + 1] = REPLACEMENT
    position = bad + 1
  end
  return table.concat(parts)
end

local CONSTANTS = { ["'"] = [[."\047".]], ["\n"] = [[."\n".]] }

--- text.quote(value): a gnuplot expression whose value is the cleaned text.
function text.quote(value)
  return (("'%s'"):format((text.clean(value):gsub("['\n]", function(mark) return "'" .. CONSTANTS[mark] .. "'" end))))
end

--- text.number(value, digits): so many significant digits (by default nine), with a decimal point in every locale.
function text.number(value, digits)
  return (("%.*g"):gsub("*", digits or 9):format(value):gsub(",", "."))
end

--- text.width(line): about how many columns the (clean) line takes; East Asian characters count twice.
function text.width(line)
  local columns = 0
  for _, code in utf8.codes(line) do
    columns = columns + (code >= 0x1100 and code < 0x1FB00 and not (code >= 0x1E00 and code < 0x2E80) and 2 or 1)
  end
  return columns
end

-- The first or the last `count` characters.
local function head(line, count) return line:sub(1, utf8.offset(line, count + 1) - 1) end
local function tail(line, count) return line:sub(utf8.offset(line, -count)) end

--- text.shorten(value, limit): one line of at most `limit` characters; the middle is what goes, since names of a
--- family mostly differ at an end.
function text.shorten(value, limit)
  local line = text.clean(value):gsub("\n", " ")
  local length = utf8.len(line)
  if length <= limit then return line end
  local kept = math.max(limit - 1, 2)
  local last = kept // 2
  return head(line, kept - last) .. "…" .. tail(line, last)
end

--- text.wrap(value, limit, most): lines of at most `limit` characters broken at spaces; at most `most` lines.
function text.wrap(value, limit, most)
  local lines = {}
  for paragraph in (text.clean(value) .. "\n"):gmatch("(.-)\n") do
    local line = ""
    for word in paragraph:gmatch("%S+") do
      word = text.shorten(word, limit)
      if line == "" then
        line = word
      elseif text.width(line) + 1 + text.width(word) <= limit then
        line = line .. " " .. word
      else
        lines[#lines + 1], line = line, word
      end
    end
    lines[#lines + 1] = line -- "" for an empty paragraph
  end
  if #lines > most then
    lines[most] = text.shorten(lines[most], limit - 2) .. " …"
  end
  return table.concat(lines, "\n", 1, math.min(#lines, most))
end

return text
