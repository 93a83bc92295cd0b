--- How far trainings go, and how far from each other they end.
local core = require "plumb.core"
local report = require "plumb.report"
local format = require "plumb.format"

local trajectory = {}

local function check_paths(who, paths)
  if type(paths) ~= "table" or #paths == 0 then report.fail("%s: paths must be a list of lists of thetas", who) end
  local size
  for i, path in ipairs(paths) do
    if type(path) ~= "table" or #path == 0 then
      report.fail("%s: path %d must be a list of thetas, not %s", who, i, type(path) == "table" and "empty" or type(path))
    end
    for _, theta in ipairs { path[1], path[#path] } do
      size = size or core.is_tensor(theta) and theta:dim() == 1 and theta:numel()
      if not core.is_tensor(theta) or theta:dim() ~= 1 or theta:numel() ~= size then
        report.fail("%s: path %d must hold thetas like the first one, not %s", who, i,
          core.is_tensor(theta) and "of shape " .. format.shape(theta) or type(theta))
      end
    end
  end
end

local function distance(a, b) return (a:double() - b:double()):norm():item() end

--- measure.travel(paths) -> travel, apart: of several trainings, each a list of recorded thetas (P): the largest Euclidean
--- distance of an end from its start, and the smallest distance between the ends of two (nil where there is only one).
function trajectory.travel(paths)
  check_paths("measure.travel", paths)
  local travel, apart = 0, nil
  for i, path in ipairs(paths) do
    travel = math.max(travel, distance(path[#path], path[1]))
    for j = 1, i - 1 do apart = math.min(apart or math.huge, distance(path[#path], paths[j][#paths[j]])) end
  end
  return travel, apart
end

return trajectory
