-- Checks that includes in core/ go one way, and that Lua is met in bindings/ alone: ./plumb tests/lint_includes.lua [ROOT]
local lfs = require "lfs"

local ROOT = arg[1] or arg[0]:match("^(.*)/tests/") or "."
local LONG = 600 -- lines: past this ask whether a file is two

-- What core/ is made of, from the bottom up. A file includes only what stands above it here, or its own header; its
-- ending does not count, and `*` stands for the rest of a name.
local ORDER = {
  -- memory and errors
  "fail", "shelves", "memory",
  -- rng, shape, array
  "rng", "shape", "array",
  -- kernels
  "pool", "kernels", "kernel_*",
  -- node
  "node",
  -- operators
  "operator", "elementwise", "kernel_elementwise", "operators", "batch", "linalg", "operators_*",
  -- transforms
  "grad", "vmap",
  -- plan and run
  "fuse", "plan", "plan_internal", "plan_*",
  -- batches of data sets
  "loader",
  -- the umbrella
  "plumb",
}

-- Headers of the system that only one file, or one folder, may include.
local HOMES = {
  ["lua.h"] = "bindings/", ["lauxlib.h"] = "bindings/", ["lualib.h"] = "bindings/",
  ["pthread.h"] = "core/pool.c",
}

-- ---- the rules ----

local place = {}
for i, name in ipairs(ORDER) do place[name] = i end

-- The place in ORDER of a file of core/: by its name, else by the longest pattern that fits it. nil when it has none.
local function place_of(file)
  local stem = file:match("^([%w_]+)%.%w+$")
  if not stem then return nil end
  if place[stem] then return place[stem] end
  for length = #stem - 1, 1, -1 do
    local i = place[stem:sub(1, length) .. "*"]
    if i then return i end
  end
  return nil
end

local problems, checked = 0, 0

local function complain(path, line, ...)
  problems = problems + 1
  print(("%s:%d: %s"):format(path, line, string.format(...)))
end

local function check_home(path, number, header)
  local home = HOMES[header:match("[^/]*$")]
  if home and path:sub(1, #home) ~= home then
    complain(path, number, "includes <%s>, which only %s does", header, home)
  end
end

local function check_order(path, file, number, header)
  local own, other = place_of(file), place_of(header)
  if not own then return end
  if header:find("/", 1, true) then
    complain(path, number, 'includes "%s": core/ includes nothing from elsewhere', header)
  elseif not other then
    complain(path, number, 'includes "%s", which has no place in ORDER (tests/lint_includes.lua)', header)
  elseif other > own then
    complain(path, number, 'includes "%s" (%s), which stands below %s in the order', header, ORDER[other], ORDER[own])
  end
end

local function check_file(folder, file)
  local path = folder .. "/" .. file
  local in_core = folder == "core"
  if in_core and not place_of(file) then
    complain(path, 1, "has no place in ORDER (tests/lint_includes.lua): put it below all that it includes")
  end
  local number = 0
  for line in io.lines(ROOT .. "/" .. path) do
    number = number + 1
    local opening, header = line:match('^%s*#%s*include%s*([<"])([^>"]+)')
    if opening then check_home(path, number, header) end
    if in_core and opening == '"' then check_order(path, file, number, header) end
    if in_core and line:find("%f[%w_]luaL?_%w") then
      complain(path, number, "calls Lua: core/ knows nothing of it")
    end
  end
  checked = checked + 1
end

-- ---- walking ----

-- Calls visit(folder, file) for the files of a folder whose names fit the pattern, in the order of their names.
local function walk(folder, pattern, visit)
  if lfs.attributes(ROOT .. "/" .. folder, "mode") ~= "directory" then return end
  local names = {}
  for name in lfs.dir(ROOT .. "/" .. folder) do
    if not name:find("^%.") then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    if lfs.attributes(("%s/%s/%s"):format(ROOT, folder, name), "mode") == "directory" then
      walk(folder .. "/" .. name, pattern, visit)
    elseif name:find(pattern) then
      visit(folder, name)
    end
  end
end

local function warn_if_long(folder, file)
  local count = 0
  for _ in io.lines(("%s/%s/%s"):format(ROOT, folder, file)) do count = count + 1 end
  if count > LONG then print(("%s/%s: warning: %d lines: is it two files?"):format(folder, file, count)) end
end

for _, folder in ipairs { "core", "bindings" } do
  walk(folder, "%.[ch]$", check_file)
  walk(folder, "%.inc$", check_file)
  walk(folder, "%.def$", check_file)
end
for _, folder in ipairs { "core", "bindings", "lua", "scripts", "tests" } do
  walk(folder, "%.%a+$", warn_if_long)
end
print(("includes: %d files, %d problem%s"):format(checked, problems, problems == 1 and "" or "s"))
os.exit(problems == 0, true)
