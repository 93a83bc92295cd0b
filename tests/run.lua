-- Runs the specs with busted inside plumb: ./plumb tests/run.lua [options of busted] [spec ...]
-- Without a spec, all of tests/*_spec.lua, each in a process of its own and some of these at a time.
-- The exit code is 0 only when every test passed.
local lfs = require "lfs"

local MOST_AT_A_TIME = 4 -- some train on all images

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
local program = arg[-1]:find("/") and absolute(arg[-1]) or arg[-1]
assert(lfs.chdir(root)) -- specs may rely on it
package.path = root .. "/tests/?.lua;" .. package.path -- what they share: support.lua, folders.lua

local function run_here()
  -- busted unloads, after each file, the modules that the file required. The core stays, so that all files share one
  -- set of metatables and one memory; plumb's Lua modules are loaded anew for each file, with their settings at the
  -- defaults.
  require "plumb.core"
  table.insert(arg, 1, "--pattern=_spec%.lua$")
  require "busted.runner" { standalone = false, output = "plainTerminal" }
end

-- The last argument is the spec. What it says is shown when it is over, so that no two are mixed.
local RUN_ONE = [[for spec; do :; done; log=$FOLDER/$(basename "$spec"); "$PROGRAM" tests/run.lua "$@" >"$log" 2>&1
echo "exit code $?" >>"$log"; printf '\n%s\n' "$spec"; cat "$log"]]

-- "12 successes / 1 failure / 0 errors / 2 pending : 3.1 seconds", as busted says it.
local SUMMARY = "\n(%d+) success%a* / (%d+) failures? / (%d+) errors? / (%d+) pending"

-- What it says that went wrong is an error more, a crash for instance or a leak that was found at the end.
local function add_counts(sums, log)
  local counts = { log:match(".*" .. SUMMARY) }
  for i = 1, 4 do sums[i] = sums[i] + math.tointeger(counts[i] or 0) end
  local failed = (counts[2] or "0") ~= "0" or (counts[3] or "0") ~= "0"
  if not failed and (#counts == 0 or not log:find("\nexit code 0\n$")) then sums[3] = sums[3] + 1 end
end

local function run_all()
  local folders, quote = require "folders", require("programs").quote
  local started, folder, options = os.time(), folders.new(), {}
  for i, option in ipairs(arg) do options[i] = quote(option) end
  local command = ("printf '%%s\\n' tests/*_spec.lua | FOLDER=%s PROGRAM=%s xargs -n 1 -P %d sh -c %s sh %s"):format(
    quote(folder), quote(program), math.min(require("plumb").threads(), MOST_AT_A_TIME), quote(RUN_ONE),
    table.concat(options, " "))
  local ran = os.execute(command)
  local sums = { 0, 0, 0, 0 }
  for name in lfs.dir(folder) do
    if name:find("_spec%.lua$") then add_counts(sums, folders.read(folder .. "/" .. name)) end
  end
  folders.remove(folder)
  print(("\n%d successes / %d failures / %d errors / %d pending : %d seconds"):format(sums[1], sums[2], sums[3], sums[4],
    os.time() - started))
  os.exit(ran and sums[1] > 0 and sums[2] + sums[3] == 0, true)
end

if names_a_spec then run_here() else run_all() end
