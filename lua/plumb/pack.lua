--- Lua values as bytes, for another process of plumb, where what a function is made of travels with it, or for a file.
--
-- Numbers, strings, booleans, tensors, variables and tables (shared and cyclic ones too) travel by value, bit by bit.
-- Functions written in Lua travel with the values of their local variables, two functions that share a variable still share
-- it. What belongs to Lua, to plumb or to a module that `require` finds travels by name. Globals travel when they are asked
-- for: see `environments`. A metatable's __transfer(object) gives what travels in the object's place.
local core = require "plumb.core"
local report = require "plumb.report"

local pack = {}

local MAX_DEPTH = 10000       -- of nested tables; deeper ones would end in a stack overflow
local LIBRARY_DEPTH = 5       -- how deep in a module's tables its things are looked for
local END = ("E"):byte()
local STANDARD = { string = true, table = true, math = true, io = true, os = true, coroutine = true, utf8 = true,
  debug = true }

-- ---- what travels by name ----

local function is_plumb(name) return name == "plumb" or name:find("^plumb%.") ~= nil end

local function is_found(name)
  return is_plumb(name) or STANDARD[name] or package.searchpath(name, package.path) or package.searchpath(name, package.cpath)
end

-- Adds the functions and tables within `module` under the names that lead to them, nearest first.
local function add_names(names, modules)
  local layer = modules
  for _ = 1, LIBRARY_DEPTH do
    local deeper = {}
    for _, entry in ipairs(layer) do
      for key, value in next, entry.value do
        local kind = type(value)
        if type(key) == "string" and (kind == "function" or kind == "table") and not names[value] then
          names[value] = entry.name .. "\0" .. key
          if kind == "table" then deeper[#deeper + 1] = { name = names[value], value = value } end
        end
      end
    end
    layer = deeper
  end
end

-- {function or table = its name}: "plumb.nn\0Linear" is require("plumb.nn").Linear.
local function library_names()
  local names, modules, order = {}, {}, {}
  for name in pairs(package.loaded) do
    if type(name) == "string" then order[#order + 1] = name end
  end
  table.sort(order)
  for _, name in ipairs(order) do
    local value = package.loaded[name]
    if name ~= "_G" and name ~= "package" and (type(value) == "table" or type(value) == "function") and is_found(name) then
      names[value] = names[value] or name
      if type(value) == "table" then modules[#modules + 1] = { name = name, value = value } end
    end
  end
  add_names(names, modules)
  for _, name in ipairs { "_G", "package" } do
    names[package.loaded[name]] = name
    for key, value in pairs(package.loaded[name]) do
      local is_c = type(value) == "function" and debug.getinfo(value, "S").what == "C"
      if is_c then names[value] = names[value] or name .. "\0" .. key end
    end
  end
  return names
end

local function find_by_name(name)
  local value
  for part in name:gmatch("[^\0]+") do
    if value == nil then value = require(part) else value = value[part] end
    if value == nil then error(("the worker process has no %s"):format((name:gsub("\0", "."))), 0) end
  end
  return value
end

-- ---- values to bytes ----

local Encoder = {}
Encoder.__index = Encoder

function Encoder:put(...)
  for i = 1, select("#", ...) do self.parts[#self.parts + 1] = (select(i, ...)) end
end

function Encoder:refuse(what)
  report.fail("%s: %s %s cannot be %s", self.who, table.concat(self.path), what,
    self.kept and "kept in a file" or "sent to another process")
end

-- Encodes what stands at `place` of the present value; the place is for the message when that can't be done.
function Encoder:inner(place, value)
  self.path[#self.path + 1] = place
  if #self.path > MAX_DEPTH then
    self.path = { self.path[1] }
    self:refuse(("is nested more than %d deep and"):format(MAX_DEPTH))
  end
  self:value(value)
  self.path[#self.path] = nil
end

-- Numbers an object in the order that the decoder sees.
function Encoder:remember(object)
  self.count = self.count + 1
  self.seen[object] = self.count
end

local scalars = {
  ["nil"] = function() return "N" end,
  boolean = function(value) return value and "T" or "F" end,
  string = function(value) return string.pack("<c1s8", "S", value) end,
  number = function(value)
    return string.pack(math.type(value) == "integer" and "<c1i8" or "<c1d", math.type(value) == "integer" and "I" or "D", value)
  end,
}

function Encoder:tensor(t)
  if self.kept then
    self.kept[#self.kept + 1] = { name = table.concat(self.path), tensor = t }
    return self:put(string.pack("<c1I8", "K", #self.kept))
  end
  local shape = t:shape()
  self:put(string.pack("<c1s1B", "X", t:dtype(), #shape))
  for _, size in ipairs(shape) do self:put(string.pack("<i8", size)) end
  local bytes = core.files.bytes(t)
  self:put(string.pack("<I8", #bytes), bytes)
end

function Encoder:userdata(object)
  local kind = (getmetatable(object) or {}).__name
  if core.is_tensor(object) then
    self:remember(object)
    return self:tensor(object)
  elseif kind == "plumb.Variable" and not self.kept then
    self:remember(object)
    self:put("V")
    return self:value(object:get())
  elseif kind == "plumb.Compiled" and not self.kept then
    self:remember(object)
    self:put("C")
    return self:value((debug.getuservalue(object, 1)))
  end
  self:refuse(("is a %s, which"):format(io.type(object) and "file" or kind or "userdata"))
end

local function key_text(key)
  if type(key) == "string" and key:find("^[%a_][%w_]*$") then return "." .. key end
  return type(key) == "string" and ("[%q]"):format(key) or ("[%s]"):format(tostring(key))
end

function Encoder:table(object)
  local meta = debug.getmetatable(object)
  if self.kept and meta ~= nil then self:refuse("is a table with a metatable, which") end
  local transfer = type(meta) == "table" and rawget(meta, "__transfer")
  if transfer then
    object = transfer(object)
    meta = debug.getmetatable(object)
  end
  self:put("t")
  for key, value in next, object do
    self:inner("[a key]", key)
    self:inner(key_text(key), value)
  end
  self:put("E")
  self:inner("'s metatable", meta)
end

-- The globals that a function sees, numbered so that they can be asked for.
function Encoder:environment(object)
  local number = 1
  while self.environments[number] and self.environments[number] ~= object do number = number + 1 end
  self.environments[number] = object
  self:put(string.pack("<c1I4", "G", number))
end

function Encoder:upvalue(f, i)
  local name, value = debug.getupvalue(f, i)
  local id = debug.upvalueid(f, i)
  if name == "_ENV" and type(value) == "table" then return self:environment(value) end
  if self.seen[id] then return self:put(string.pack("<c1I8", "R", self.seen[id])) end
  self:remember(id)
  self:put("U")
  self:inner(" > " .. name, value)
end

function Encoder:lua_function(f)
  local info = debug.getinfo(f, "Su")
  if info.what == "C" then self:refuse("is a function written in C, which") end
  self:put(string.pack("<c1s8B", "f", string.dump(f), info.nups))
  for i = 1, info.nups do self:upvalue(f, i) end
end

function Encoder:value(value)
  local kind = type(value)
  if scalars[kind] then return self:put(scalars[kind](value)) end
  if self.seen[value] then return self:put(string.pack("<c1I8", "R", self.seen[value])) end
  if kind == "userdata" then return self:userdata(value) end
  if kind == "thread" then self:refuse("is a coroutine, which") end
  if kind == "function" and self.kept then self:refuse("is a function, which") end
  if self.kept then
    self:remember(value)
    return self:table(value)
  end
  self.names = self.names or library_names()
  if self.names[value] then return self:put(string.pack("<c1s8", "@", self.names[value])) end
  self:remember(value)
  if kind == "table" then return self:table(value) end
  self:lua_function(value)
end

local function encode(value, encoder)
  encoder.parts, encoder.seen, encoder.count = {}, {}, 0
  setmetatable(encoder, Encoder):value(value)
  return table.concat(encoder.parts)
end

--- pack.encode(value, who, what, environments) -> bytes. The tables of globals that functions use are added to the list
--- `environments`. Something that cannot travel is an error that begins with `who` and the way to it, from `what` on.
function pack.encode(value, who, what, environments)
  return encode(value, { who = who, path = { what }, environments = environments })
end

--- pack.encode_data(value, who, what) -> bytes, list of {name =, tensor =}: the same for a file, where tensors stand beside.
function pack.encode_data(value, who, what)
  local kept = {}
  return encode(value, { who = who, path = { what }, kept = kept }), kept
end

-- ---- bytes to values ----

local Decoder = {}
Decoder.__index = Decoder

-- The next value in the format of string.unpack.
function Decoder:take(format)
  local value
  value, self.at = string.unpack(format, self.bytes, self.at)
  return value
end

function Decoder:new_number()
  self.count = self.count + 1
  return self.count
end

-- A tensor's elements are read once: they cannot change, and the variable that keeps them gives a new handle to them each time.
function Decoder:tensor()
  local number, at = self:new_number(), self.at
  local dtype, rank = self:take("<s1"), self:take("<B")
  local shape = {}
  for i = 1, rank do shape[i] = self:take("<i8") end
  local bytes = self:take("<I8")
  local kept = self.tensors[at]
  if not kept then
    local data = self.bytes:sub(self.at, self.at + bytes - 1)
    kept = core.variable(core.files.from_bytes(data, dtype, shape))
    self.tensors[at] = kept
  end
  self.at = self.at + bytes
  self.objects[number] = kept:get()
  return self.objects[number]
end

function Decoder:table()
  local object = {}
  self.objects[self:new_number()] = object
  while self.bytes:byte(self.at) ~= END do
    local key = self:value()
    rawset(object, key, self:value())
  end
  self.at = self.at + 1
  return debug.setmetatable(object, self:value())
end

function Decoder:upvalue(f, i)
  local tag = self:take("<c1")
  if tag == "G" then return debug.setupvalue(f, i, self.environment(self:take("<I4"))) end
  if tag == "R" then return debug.upvaluejoin(f, i, table.unpack(self.objects[self:take("<I8")])) end
  self.objects[self:new_number()] = { f, i }
  debug.setupvalue(f, i, self:value())
end

function Decoder:lua_function()
  local number = self:new_number()
  local f = assert(load(self:take("<s8"), "=function", "b"))
  local count = self:take("<B")
  self.objects[number] = f
  for i = 1, count do self:upvalue(f, i) end
  return f
end

-- What a file may hold.
local data_readers = {
  N = function() return nil end,
  T = function() return true end,
  F = function() return false end,
  S = function(self) return self:take("<s8") end,
  I = function(self) return self:take("<i8") end,
  D = function(self) return self:take("<d") end,
  R = function(self) return self.objects[self:take("<I8")] end,
  K = function(self)
    local number = self:new_number()
    self.objects[number] = self.tensors[self:take("<I8")]
    return self.objects[number]
  end,
  t = Decoder.table,
}

local readers = {
  ["@"] = function(self) return find_by_name(self:take("<s8")) end,
  X = Decoder.tensor,
  V = function(self)
    local number = self:new_number()
    self.objects[number] = core.variable(self:value())
    return self.objects[number]
  end,
  C = function(self)
    local number = self:new_number()
    self.objects[number] = core.compile(self:value())
    return self.objects[number]
  end,
  f = Decoder.lua_function,
}
for tag, reader in pairs(data_readers) do readers[tag] = readers[tag] or reader end

function Decoder:value()
  local tag = self:take("<c1")
  local reader = self.readers[tag] or error(("unknown kind of value %q"):format(tag), 0)
  return reader(self)
end

local function decode(given)
  given.at, given.objects, given.count = 1, {}, 0
  return setmetatable(given, Decoder):value()
end

--- pack.decode(bytes, environment, tensors) -> the value that was encoded, all of it new. environment(number) gives the table
--- of globals for functions; tensors is a table that keeps the elements for the next time the same bytes are decoded.
function pack.decode(bytes, environment, tensors)
  return decode { bytes = bytes, environment = environment, tensors = tensors or {}, readers = readers }
end

--- pack.decode_data(bytes, tensors) -> the value that encode_data took; tensors is the list of tensors beside it.
function pack.decode_data(bytes, tensors)
  return decode { bytes = bytes, tensors = tensors, readers = data_readers }
end

return pack
