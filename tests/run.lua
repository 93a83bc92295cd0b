-- Runs the specs with busted inside plumb: ./plumb tests/run.lua [options of busted] [spec ...]
-- Without a spec, all of tests/*_spec.lua. The exit code is 0 only when every test passed.
local lfs = require "lfs"

-- busted unloads, after each file, the modules that the file required. The core stays, so that all files share one set
-- of metatables and one memory; plumb's Lua modules are loaded anew for each file, with their settings at the defaults.
require "plumb.core"

local function absolute(path)
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end

local root = absolute(arg[0]):match("^(.*)/") .. "/.."

-- busted takes its options from `arg`. A spec is found from where the caller stands, else from the root.
local names_a_spec = false
for i, argument in ipairs(arg) do
  local exists = lfs.attributes(argument) ~= nil
  if exists then arg[i] = absolute(argument) end
  names_a_spec = names_a_spec or exists or argument:find("%.lua$") ~= nil
end
if not names_a_spec then table.insert(arg, "tests") end
table.insert(arg, 1, "--pattern=_spec%.lua$")

assert(lfs.chdir(root)) -- specs may rely on it
package.path = root .. "/tests/?.lua;" .. package.path -- what they share: support.lua, folders.lua

require "busted.runner" { standalone = false, output = "plainTerminal" }
