--- Counts the instructions of the workloads in counted.lua and compares them with those that are kept in counts.csv:
---
---     make counts            fails when one has grown by more than 5 %
---     make counts KEEP=1     keeps the numbers of now
---
--- Times on shared machines can't be a test; counts can. They are taken by valgrind from a build for x86-64-v3, with OpenBLAS
--- told to use its kernels for Haswell, since valgrind knows no AVX-512; on one thread, in an environment of fixed content.
--- What is left of chance is the seed of Lua's tables, which is a matter of less than 1 %.
local plumb = require "plumb"

local FOLDER = arg[0]:match("^(.*)/")
local KEPT = FOLDER .. "/counts.csv"
local NAMES = { "start", "deep", "mlp", "cnn", "hessian" }
local GROWTH = 0.05
local TIMEOUT = 600 -- seconds

local program, keep = arg[1], arg[2] == "--keep"

local function run(command)
  local result, message = plumb.core.process.run(command, { timeout = TIMEOUT })
  if not result or result.code ~= 0 then
    error(("%s\nfailed: %s"):format(table.concat(command, " "), message or result.stderr), 0)
  end
  return result
end

local function count(name)
  local result = run { "env", "-i", "PATH=/usr/bin:/bin", "HOME=/", "LUA_PATH=lua/?.lua;lua/?/init.lua;;",
    "OPENBLAS_CORETYPE=Haswell", "OPENBLAS_NUM_THREADS=1", "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
    program, FOLDER .. "/counted.lua", name }
  return math.tointeger(tonumber(result.stderr:match("Collected : (%d+)"))) or error("valgrind counted nothing", 0)
end

-- ---- what is kept: lines "name,instructions", and "compiler,..." ----

local function read_kept()
  local kept = {}
  local file <close> = io.open(KEPT)
  for line in file and file:lines() or function() end do
    local name, value = line:match("^(%w+),(.*)$")
    kept[name] = tonumber(value) or value
  end
  return kept
end

local function write_kept(counts, compiler)
  local lines = { "workload,instructions\n" }
  for _, name in ipairs(NAMES) do lines[#lines + 1] = ("%s,%d\n"):format(name, counts[name]) end
  lines[#lines + 1] = ("compiler,%s\n"):format(compiler)
  plumb.files.write(KEPT, lines)
end

local compiler = run({ os.getenv("CC") or "gcc", "-dumpfullversion" }).stdout:match("%S+")
local kept, counts, grown = read_kept(), {}, {}
print(("%-8s %14s %14s %8s"):format("", "instructions", "kept", "change"))
for _, name in ipairs(NAMES) do
  counts[name] = count(name)
  local change = kept[name] and counts[name] / kept[name] - 1
  print(("%-8s %14d %14s %8s"):format(name, counts[name], kept[name] or "none",
    change and ("%+.1f %%"):format(100 * change) or ""))
  if not change or change > GROWTH then grown[#grown + 1] = name end
end
if keep then
  write_kept(counts, compiler)
elseif kept.compiler ~= compiler then
  print(("the kept numbers are of compiler %s, not %s: nothing to compare with"):format(kept.compiler, compiler))
elseif #grown > 0 then
  io.stderr:write(("counts: %s: more than %.0f %% above what is kept (make counts KEEP=1 keeps the new numbers)\n"):format(
    table.concat(grown, ", "), 100 * GROWTH))
  os.exit(1)
end
