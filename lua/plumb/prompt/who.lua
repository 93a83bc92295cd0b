--- who(): what the user has made.
local core = require "plumb.core"
local display = require "plumb.prompt.display"
local globals = require "plumb.prompt.globals"

local who = {}

local BYTES = { float32 = 4, float64 = 8, int64 = 8, uint8 = 1 }

--- who.bytes_text(bytes) -> "12.3 MB"
local function bytes_text(bytes)
  local units, unit = { "B", "kB", "MB", "GB", "TB" }, 1
  while bytes >= 999.5 and unit < #units do bytes, unit = bytes / 1000, unit + 1 end
  return (unit == 1 and "%d %s" or "%.3g %s"):format(unit == 1 and math.floor(bytes) or bytes, units[unit])
end

-- The bytes of a value's numbers or characters, or nil where a size says little.
local function size_of(value)
  if core.is_tensor(value) then return bytes_text(value:numel() * BYTES[value:dtype()]) end
  if type(value) == "string" then return bytes_text(#value) end
  local loaded = package.loaded["plumb.nn.module"]
  if type(value) == "table" and loaded and loaded.is(value) and value.size > 0 then
    return bytes_text(value.size * BYTES[value.theta:dtype()])
  end
  return ""
end

--- who(): lists the global names that you made, with what stands in them and how much memory its numbers take (a tensor may
--- share them with others). plumb.memory() tells what all tensors take together.
function who.who()
  local names, sizes, widths = globals.own(), {}, { 0, 0 }
  if #names == 0 then return print("There is nothing of yours yet.") end
  for i, name in ipairs(names) do
    sizes[i] = size_of(rawget(_G, name))
    widths = { math.max(widths[1], #name), math.max(widths[2], #sizes[i]) }
  end
  for i, name in ipairs(names) do
    print(("%-" .. widths[1] .. "s  %" .. widths[2] .. "s  %s"):format(name, sizes[i], display.brief(rawget(_G, name))))
  end
end

return who
