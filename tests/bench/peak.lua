local peak = {}

--- peak.mb() -> the most memory that this process has taken so far, in MB
function peak.mb()
  for line in io.lines("/proc/self/status") do
    local kilobytes = line:match("VmHWM:%s*(%d+)")
    if kilobytes then return kilobytes / 1024 end
  end
end

return peak
