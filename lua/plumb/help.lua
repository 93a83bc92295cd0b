--- help(x): the documentation of a function, an operator, a module or a class.
local core = require "plumb.core"

local help = {}

-- The block of `---` lines directly above a function's definition.
local function comment_above(f)
  local info = debug.getinfo(f, "S")
  if info.source:sub(1, 1) ~= "@" then return nil end
  local file = io.open(info.source:sub(2))
  if not file then return nil end
  local block = {}
  local number = 0
  for line in file:lines() do
    number = number + 1
    if number >= info.linedefined then break end
    local text = line:match("^%s*%-%-%-? ?(.*)$")
    if text and line:match("^%s*%-%-%-") then block[#block + 1] = text
    elseif not (text and #block > 0) then block = {} end
  end
  file:close()
  return #block > 0 and table.concat(block, "\n") or nil
end

local function operator_text(row)
  local text = ("%s(%s)\n%s"):format(row.name, row.signature, row.doc)
  if not row.differentiable then text = text .. "\nIt has no gradient." end
  return text
end

--- help_text(x) -> string or nil: what help(x) prints. x is a function, a class with a `doc`, or an operator's name.
function help.help_text(x)
  if type(x) == "string" then
    return core.operators[x] and operator_text(core.operators[x]) or nil
  end
  for _, row in pairs(core.operators) do
    if row.call == x then return operator_text(row) end
  end
  if type(x) == "table" then
    if rawget(x, "doc") then return x.doc end
    local class = getmetatable(x)
    if type(class) == "table" and class.doc then return class.doc end
  end
  return type(x) == "function" and comment_above(x) or nil
end

--- help(x): prints the documentation of a function, a layer, an optimiser or (by name) an operator.
function help.help(x)
  if x == nil then
    print("help(x) explains a function or a class: help(plumb.grad), help(nn.Linear), help(\"exp\").")
    return
  end
  print(help.help_text(x) or "There is no documentation of this " .. type(x) .. ".")
end

return help
