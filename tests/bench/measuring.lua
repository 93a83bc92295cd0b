--- Measures one workload: both sides take turns, at the best thread count of each, after they have agreed on the mathematics.
local plumb = require "plumb"
local conversation = require "conversation"
local networks = require "networks"
local files, json = plumb.files, plumb.files.json_encode

local FOLDER = "build/bench"
local SECONDS = 0.3        -- that a repeat should take
local PLUMB_SETTINGS = { "1", "2" }

local measuring = {}

local function median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return (sorted[(#sorted + 1) // 2] + sorted[#sorted // 2 + 1]) / 2
end

-- ---- what both sides read ----

-- The weights that both sides start from, and what else of random numbers a workload takes.
local function weights(w)
  plumb.manual_seed(1)
  if w.kind == "matmul" then return { x = plumb.randn(w.size, w.size), y = plumb.randn(w.size, w.size) } end
  if w.task == "seeds" then
    local all = {}
    for seed = 1, w.seeds do
      for name, tensor in pairs(networks.build(w):state_dict()) do all[seed .. "/" .. name] = tensor end
    end
    return all
  end
  if not (w.network or w.widths) then return nil end
  local model = networks.build(w)
  local state = model:state_dict()
  if w.kind == "second_order" then state.direction = plumb.randn({ model.size }, { dtype = w.dtype }) end
  return state
end

-- Writes the workload as JSON, with some fields changed, and returns the file's path.
local function describe(w, changes)
  local described = {}
  for _, source in ipairs { w, changes or {} } do
    for key, value in pairs(source) do described[key] = value end
  end
  described.data = FOLDER .. "/mnist"
  local tensors = weights(w)
  if tensors then
    described.weights = ("%s/%s.safetensors"):format(FOLDER, w.name)
    files.save(described.weights, tensors)
  end
  if w.widths and w.widths[1] == 1 then
    described.set = ("%s/%s.set.safetensors"):format(FOLDER, w.name)
    files.save(described.set, networks.curve(w))
  end
  local path = ("%s/%s%s.json"):format(FOLDER, w.name, changes and ".check" or "")
  files.write(path, json(described))
  return path
end

-- ---- the same mathematics ----

-- The largest difference of two lists of numbers, relative to the largest number.
local function difference(a, b)
  if #a ~= #b then return math.huge end
  local largest, scale = 0, 1e-30
  for i = 1, #a do
    largest = math.max(largest, math.abs(a[i] - b[i]))
    scale = math.max(scale, math.abs(a[i]), math.abs(b[i]))
    if a[i] ~= a[i] or b[i] ~= b[i] then return math.huge end
  end
  return largest / scale
end

local function check_agreement(row, w, peer, own_values, peer_values)
  peer.difference = difference(own_values, peer_values)
  if peer.difference > w.tolerance then
    row.disagrees = true
    peer.values, row.values = peer_values, own_values
  end
end

-- ---- sides that answer requests ----

local function pace(side)
  local n, answer = 1, side:ask("run 1") -- the first plans, allocates and warms up
  repeat
    n = math.max(n, math.min(10 * n, math.ceil(SECONDS * answer.steps / answer.seconds)))
    answer = side:ask("run " .. n)
  until answer.seconds > 0.4 * SECONDS or n * answer.seconds / answer.steps > SECONDS
  side.steps, side.times = math.max(1, math.ceil(SECONDS * answer.steps / answer.seconds)), {}
  side.pace = answer.seconds / answer.steps
end

local function repeat_once(side)
  local answer = side:ask("run " .. side.steps)
  table.insert(side.times, answer.seconds / answer.steps)
end

-- A process for each setting; the slower ones end once the paces are known, but for those to be `kept`.
local function start_sides(command, settings, path, kept)
  local sides, best = {}, nil
  for i, setting in ipairs(settings) do
    local words = table.move(command, 1, #command, 1, {})
    words[#words + 1], words[#words + 2] = setting, path
    sides[i] = conversation.start(words)
    sides[i].setting = setting
    pace(sides[i])
    if not best or sides[i].pace < best.pace then best = sides[i] end
  end
  if kept then return sides end
  for _, side in ipairs(sides) do
    if side ~= best then side:stop() end
  end
  return { best }
end

local function fastest(sides)
  local best
  for _, side in ipairs(sides) do
    side.median = median(side.times)
    if not best or side.median < best.median then best = side end
  end
  return best
end

local function conversations(row, w, peers, repeats)
  local path = describe(w)
  local own = start_sides({ "./plumb", "tests/bench/side.lua" }, PLUMB_SETTINGS, path, true)
  local all = { own }
  for i, peer in ipairs(peers) do all[i + 1] = start_sides({ peer.python, "tests/bench/peer_torch.py" }, peer.settings, path) end
  local values = own[1]:ask("check").values
  for i = 1, #peers do check_agreement(row, w, row.peers[i], values, all[i + 1][1]:ask("check").values) end
  for _ = 1, repeats do
    for _, sides in ipairs(all) do
      for _, side in ipairs(sides) do repeat_once(side) end
    end
  end
  for i, sides in ipairs(all) do
    local best, result = fastest(sides), i == 1 and row or row.peers[i - 1]
    result.seconds, result.threads, result.mb, result.repeats = best.median, best.setting, best:ask("peak").mb, best.times
  end
  row.scaling = own[1].median / own[2].median
  for _, sides in ipairs(all) do
    for _, side in ipairs(sides) do side:stop() end
  end
end

-- ---- whole programs ----

local function programs(row, w, peers, repeats)
  local path = describe(w)
  local commands = { { "./plumb", "tests/bench/program.lua" } }
  for i, peer in ipairs(peers) do commands[i + 1] = { peer.python, "tests/bench/peer_torch.py", "1" } end
  local function run(i, file)
    return conversation.whole(table.move({ file }, 1, 1, #commands[i] + 1, table.move(commands[i], 1, #commands[i], 1, {})))
  end
  local short = describe(w, { steps = 20 })
  local values = run(1, short).values
  for i = 1, #peers do check_agreement(row, w, row.peers[i], values, run(i + 1, short).values) end
  for i = 1, #commands do
    local result = i == 1 and row or row.peers[i - 1]
    result.repeats = {}
  end
  for _ = 1, repeats do
    for i = 1, #commands do
      local result = i == 1 and row or row.peers[i - 1]
      local answer, seconds = run(i, path)
      table.insert(result.repeats, seconds)
      result.seconds, result.mb = median(result.repeats), answer.mb
    end
  end
end

--- measuring.row(w, peers, limits, repeats) -> {name, seconds, threads, mb, scaling, limit, share, peers = {{seconds, ratio,
--- threads, mb, difference, version}, ...}}
function measuring.row(w, peers, limits, repeats)
  local row = { name = w.name, peers = {}, asked = w.asked, asked_share = w.share, scales = w.scales, flops = w.flops }
  for i, peer in ipairs(peers) do row.peers[i] = { version = peer.version } end
  local measure = w.kind == "program" and programs or conversations
  measure(row, w, peers, repeats)
  for _, peer in ipairs(row.peers) do peer.ratio = row.seconds / peer.seconds end
  local arithmetic = (w.flops or 0) / (w.dtype == "float64" and limits.dgemm or limits.sgemm)
  row.limit = math.max(arithmetic, (w.bytes or 0) / limits.bandwidth)
  row.bound = row.limit > arithmetic and "bytes" or "flops"
  row.share = row.limit > 0 and row.limit / row.seconds or nil
  return row
end

return measuring
