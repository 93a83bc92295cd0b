--- The benchmark's table, as text, JSON and CSV.
local plumb = require "plumb"

local report = {}

local function time_text(seconds)
  if seconds < 1e-3 then return ("%.4g us"):format(seconds * 1e6) end
  return seconds < 1 and ("%.4g ms"):format(seconds * 1e3) or ("%.4g s"):format(seconds)
end

-- Which of the row's goals are missed, in words.
local function missed(row)
  local list = {}
  if row.disagrees then list[1] = "THE RESULTS DIFFER" end
  for _, peer in ipairs(row.peers) do
    local goal = peer.version:match("^1%.") and row.asked or 1
    if peer.ratio > goal then list[#list + 1] = ("%.3f of %s"):format(goal, peer.version:match("^%d+%.%d+")) end
  end
  if row.asked_share and row.share < row.asked_share then list[#list + 1] = ("%.0f %%"):format(100 * row.asked_share) end
  if row.scales and row.scaling < 1.8 then list[#list + 1] = "x 1.8" end
  return #list > 0 and "missed: " .. table.concat(list, ", ") or ""
end

--- report.head(peers) and report.line(row): the table's lines
function report.head(peers)
  local words = { ("%-15s %10s %6s %6s %5s"):format("workload", "plumb", "limit", "cores", "MB") }
  for _, peer in ipairs(peers) do
    words[#words + 1] = ("%10s %6s %5s"):format("torch " .. peer.version:match("^%d+%.%d+"), "ratio", "MB")
  end
  return table.concat(words, " ") .. "  asked"
end

function report.line(row)
  local words = { ("%-15s %10s %6s %6s %5.0f"):format(row.name, time_text(row.seconds),
    row.share and ("%.0f %%"):format(100 * row.share) or "", row.scaling and ("%.2f"):format(row.scaling) or "", row.mb) }
  for _, peer in ipairs(row.peers) do
    words[#words + 1] = ("%10s %6.3f %5.0f"):format(time_text(peer.seconds), peer.ratio, peer.mb)
  end
  return table.concat(words, " ") .. "  " .. missed(row)
end

--- report.save(rows, limits): build/bench.json and build/bench.csv
function report.save(rows, limits)
  plumb.files.write("build/bench.json", plumb.files.json_encode { limits = limits, rows = rows } .. "\n")
  local lines = { "workload,program,seconds,threads,peak_mb,ratio,asked,share_of_limit,asked_share,two_cores\n" }
  local function line(...)
    local cells = table.pack(...)
    for i = 1, cells.n do cells[i] = cells[i] == nil and "" or tostring(cells[i]) end
    lines[#lines + 1] = table.concat(cells, ",", 1, cells.n) .. "\n"
  end
  for _, row in ipairs(rows) do
    line(row.name, "plumb", row.seconds, row.threads, row.mb, nil, nil, row.share, row.asked_share, row.scaling)
    for _, peer in ipairs(row.peers) do
      line(row.name, "torch " .. peer.version, peer.seconds, peer.threads, peer.mb, peer.ratio,
        peer.version:match("^1%.") and row.asked or 1)
    end
  end
  plumb.files.write("build/bench.csv", lines)
end

return report
