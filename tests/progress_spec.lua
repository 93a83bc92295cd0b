--- The progress line, with a clock and a stream of the test's own.

local progress = require "plumb.progress"

-- A stream that keeps what is written and the number of writes that were flushed.
local function fake_stream()
  local stream = { bytes = "", flushes = 0 }
  function stream:write(...) self.bytes = self.bytes .. table.concat({ ... }) return self end
  function stream:flush() self.flushes = self.flushes + 1 end
  return stream
end

-- What a terminal of this width shows after these bytes: its lines, with the cursor's.
local function screen(bytes, width)
  local lines, row, column = { {} }, 1, 1
  for _, code in utf8.codes(bytes) do
    local character = utf8.char(code)
    if character == "\r" then
      column = 1
    elseif character == "\n" then
      row, column = row + 1, 1
      lines[row] = lines[row] or {}
    else
      assert(column < width, "the last column is written, which wraps")
      for i = #lines[row] + 1, column - 1 do lines[row][i] = " " end
      lines[row][column] = character
      column = column + 1
    end
  end
  local shown = {}
  for i, line in ipairs(lines) do shown[i] = table.concat(line):gsub("%s+$", "") end
  return shown
end

describe("plumb.progress", function()
  local now, looks, stream

  before_each(function()
    now, looks, stream = 100, 0, fake_stream()
  end)

  local function new(settings)
    local full = { label = "deep", total = 100, stream = stream, terminal = true, width = 80,
                   clock = function() looks = looks + 1 return now end }
    for name, value in pairs(settings or {}) do full[name] = value end
    return progress.new(full)
  end

  -- `steps` updates that take `seconds` each.
  local function run(bar, from, to, seconds, note)
    for done = from, to do
      now = now + seconds
      bar:update(done, note)
    end
  end

  it("shows nothing for what takes less than a second", function()
    for _, terminal in ipairs{ true, false } do
      local bar = new{ terminal = terminal }
      run(bar, 1, 100, 0.0099)
      bar:finish("done")
      assert.equal("", stream.bytes)
    end
  end)

  it("redraws one line with share, count, rate and time left", function()
    local bar = new()
    run(bar, 1, 40, 0.1, "loss 0.5")
    assert.same({ "deep   40%  40/100  10/s  6.0 s left  loss 0.5" }, screen(stream.bytes, 80))
    assert.is_nil(stream.bytes:find("\n", 1, true))
    assert.is_nil(stream.bytes:find("\27", 1, true))
  end)

  it("redraws at most ten times a second", function()
    local bar = new{ total = 100000 }
    run(bar, 1, 50000, 0.0001) -- five seconds, of which the first is quiet
    local draws = select(2, stream.bytes:gsub("\r", ""))
    assert.is_true(draws >= 30 and draws <= 41, draws)
    assert.equal(draws, stream.flushes)
  end)

  it("hardly looks at the clock in a fast loop, and soon notices a slow one", function()
    local bar = new{ total = 1e6 }
    run(bar, 1, 100000, 1e-6)
    assert.is_true(looks < 100000 / 10, looks)
    run(bar, 100001, 100020, 1)
    local before = stream.bytes
    run(bar, 100021, 100021, 1)
    assert.is_true(#stream.bytes > #before)
    assert.truthy(screen(stream.bytes, 80)[1]:find("100021/1000000", 1, true))
  end)

  it("erases what a longer line left behind", function()
    local bar = new()
    run(bar, 1, 20, 0.1, "a long note behind the line")
    run(bar, 21, 22, 0.1, "short")
    assert.same({ "deep   22%  22/100  10/s  7.8 s left  short" }, screen(stream.bytes, 80))
  end)

  it("fits the width, in characters, and keeps to one line", function()
    for _, width in ipairs{ 1, 2, 10, 20, 40, 60 } do
      stream = fake_stream()
      local bar = new{ width = width, label = "m\xc3\xbcde\n\27[2J" }
      run(bar, 1, 30, 0.1, ("\xe2\x88\x87 loss "):rep(30))
      assert.is_nil(stream.bytes:find("[\n\27]"))
      local shown = screen(stream.bytes, math.max(width, 2))
      assert.equal(1, #shown)
    end
  end)

  it("takes text that is not UTF-8", function()
    local bar = new{ width = 60 }
    run(bar, 1, 20, 0.1, "\xff\xfe loss")
    assert.truthy(screen(stream.bytes, 60)[1]:find("?? loss", 1, true))
  end)

  it("calls a note that is a function only when it draws", function()
    local calls, bar = 0, new{ total = 100000 }
    run(bar, 1, 20000, 0.0001, function() calls = calls + 1 return "note " .. calls end)
    assert.is_true(calls > 5 and calls < 20, calls)
    assert.truthy(stream.bytes:find("note " .. calls, 1, true))
  end)

  it("ends with the time it took and a new line", function()
    local bar = new()
    run(bar, 1, 100, 0.05, "loss 0.5")
    bar:finish("loss 0.25")
    bar:finish("again")
    assert.same({ "deep  100%  100/100  in 5.0 s  loss 0.25", "" }, screen(stream.bytes, 80))
  end)

  it("follows a change of speed", function()
    local bar = new{ total = 10000 }
    run(bar, 1, 1000, 0.01)
    run(bar, 1001, 1040, 1)
    local rate = tonumber(stream.bytes:match(".*  ([%d.]+)/s"))
    assert.is_true(rate < 5, rate)
  end)

  it("counts from where a resumed loop starts", function()
    local bar = new{ done = 50 }
    run(bar, 51, 70, 0.1)
    assert.truthy(stream.bytes:find("10/s  3.0 s left", 1, true))
  end)

  it("does without a total", function()
    local bar = progress.new{ stream = stream, terminal = true, width = 80, clock = function() return now end }
    run(bar, 1, 20, 0.1)
    assert.same({ "20  10/s" }, screen(stream.bytes, 80))
  end)

  it("survives a loop that stands still, goes back or beyond its end", function()
    local bar = new{ total = 10 }
    for _, done in ipairs{ 0, 0, 5, 3, 20, 20 } do run(bar, done, done, 2) end
    bar:finish()
    local empty = new{ total = 0 }
    run(empty, 0, 0, 5)
    empty:finish()
    assert.is_nil(stream.bytes:find("nan", 1, true))
    assert.is_nil(stream.bytes:find("inf", 1, true))
    assert.truthy(stream.bytes:find("100%", 1, true))
  end)

  it("shows long times readably", function()
    local expected = { { 2, "33:16 min left" }, { 60, "16:38 h left" }, { 3.59, "1:00 h left" }, { 3600, "42 days left" } }
    for _, case in ipairs(expected) do
      stream.bytes = ""
      local bar = new{ total = 1000 }
      run(bar, 1, 2, case[1])
      assert.truthy(stream.bytes:find(case[2], 1, true), stream.bytes)
    end
  end)

  describe("that is no terminal", function()
    it("gets a plain line at most every ten seconds, and the last", function()
      local bar = new{ terminal = false }
      run(bar, 1, 100, 0.35)
      bar:finish("loss 0.25")
      local lines = {}
      for line in stream.bytes:gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
      assert.equal(4, #lines)
      assert.equal("deep   29%  29/100  2.86/s  25 s left", lines[1])
      assert.equal("deep  100%  100/100  in 35 s  loss 0.25", lines[4])
      assert.is_nil(stream.bytes:find("[\r\27]"))
    end)

    it("gets only the last line for what takes a few seconds", function()
      local bar = new{ terminal = false }
      run(bar, 1, 100, 0.05)
      assert.equal("", stream.bytes)
      bar:finish()
      assert.equal("deep  100%  100/100  in 5.0 s\n", stream.bytes)
    end)

    it("is what an unknown stream is taken for", function()
      local bar = progress.new{ total = 10, stream = stream, clock = function() return now end }
      run(bar, 1, 5, 1)
      assert.equal("", stream.bytes)
    end)
  end)

  it("that is transient shows itself while it lasts, to whoever looks at a terminal", function()
    local bar = new{ transient = true }
    run(bar, 1, 9, 0.1)
    assert.equal("", stream.bytes)
    run(bar, 10, 20, 0.1)
    assert.same({ "deep   20%  20/100  10/s  8.0 s left" }, screen(stream.bytes, 80))
    bar:finish()
    assert.same({ "" }, screen(stream.bytes, 80))
    stream.bytes = ""
    bar = new{ transient = true, terminal = false }
    run(bar, 1, 100, 1)
    bar:finish()
    assert.equal("", stream.bytes)
  end)

  it("counts steps that begin", function()
    local bar = new()
    for _ = 1, 21 do
      bar:step()
      now = now + 0.1
    end
    assert.same({ "deep   20%  20/100  10/s  8.0 s left" }, screen(stream.bytes, 80))
  end)

  it("hides its line for other output and comes back", function()
    local bar = new()
    progress.hide(stream)
    assert.equal("", stream.bytes)
    run(bar, 1, 20, 0.1)
    progress.hide(stream)
    assert.same({ "" }, screen(stream.bytes, 80))
    local hidden = stream.bytes
    progress.hide(stream)
    assert.equal(hidden, stream.bytes)
    stream:write("text\n")
    run(bar, 21, 30, 0.1)
    assert.same({ "text", "deep   30%  30/100  10/s  7.0 s left" }, screen(stream.bytes, 80))
  end)

  it("leaves a clean line when an error passes through", function()
    local ok, message = pcall(function()
      local bar <close> = new()
      run(bar, 1, 20, 0.1, "note")
      error("boom", 0)
    end)
    assert.is_false(ok)
    assert.equal("boom", message)
    assert.same({ "deep   20%  20/100  in 2.0 s  note", "" }, screen(stream.bytes, 80))
  end)

  it("works with the real clock, and finds out about standard error", function()
    local bar = progress.new{ label = "real", total = 1000, stream = stream }
    bar.started = bar.started - 2 -- as if it had taken two seconds
    for done = 1, 1000 do bar:update(done) end
    bar:finish()
    assert.truthy(stream.bytes:find("^real  100%%  1000/1000  in 2.%d s\n$"), stream.bytes)
    assert.equal(require("plumb.core").process.isatty(2), progress.new{}.terminal)
  end)
end)
