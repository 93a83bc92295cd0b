--- Figures and the processes that draw them: every kind through the real gnuplot, and every way in which it can fail.

local plot = require "plumb.plot"
local process = require("plumb.core").process
local folders = require "folders"
local kinds = require "figures"
local write = folders.write

local ROOT = debug.getinfo(1, "S").source:match("^@(.*)tests/[^/]*$") or "./"
local PLUMB = os.getenv("PLUMB") or (ROOT == "" and "./" or ROOT) .. "plumb"

local function run(...)
  return assert(process.run(...))
end

-- A path that stays right when a child process starts in another folder.
local function absolute(path)
  return path:sub(1, 1) == "/" and path or run{ "pwd" }.stdout:gsub("\n$", "") .. "/" .. path
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local bytes = file:read("a")
  file:close()
  return bytes
end

local function has_program(name)
  local result = process.run{ name, "--version" }
  return result ~= nil and result.code == 0
end

-- Every element that opens also closes, and nothing but text lies outside of tags.
local function assert_svg(bytes)
  assert.is_truthy(bytes:find("^<%?xml"))
  assert.is_truthy(bytes:find("</svg>%s*$"))
  local _, opened = bytes:gsub("<[%a][^<>]*[^/]>", "")
  local _, bare = bytes:gsub("<%a>", "")
  local _, closed = bytes:gsub("</[%a]", "")
  assert.equal(opened + bare, closed)
end

local function assert_png(bytes)
  assert.equal("\x89PNG\r\n\x1A\n", bytes:sub(1, 8))
  assert.equal("IEND", bytes:sub(-8, -5))
  return string.unpack(">I4I4", bytes, 17)
end

describe("plot", function()
  local folder

  before_each(function()
    folder = run{ "mktemp", "-d" }.stdout:gsub("\n$", "")
  end)

  after_each(function()
    run{ "rm", "-rf", folder }
  end)

  it("draws every kind as svg, png, pdf and text", function()
    for name, figure in pairs(kinds()) do
      local base = folder .. "/" .. name
      assert.equal(base .. ".svg", (figure:save(base .. ".svg")), name)
      assert_svg(read(base .. ".svg"))
      assert.equal(base .. ".png", (plot.save(base .. ".png", figure)), name)
      local width, height = assert_png(read(base .. ".png"))
      assert.same({ figure.width, figure.height }, { width, height })
      assert.equal(base .. ".pdf", (figure:save(base .. ".pdf")), name)
      assert.equal("%PDF-", read(base .. ".pdf"):sub(1, 5))
      for line in assert(figure:text(60)):gmatch("[^\n]*") do
        assert.is_true(utf8.len(line) < 60, name .. ": '" .. line .. "' is wider than the terminal")
      end
    end
    assert.equal("", run{ "find", folder, "-name", "*.tmp" }.stdout)
  end)

  it("saves a script that redraws the same figure on its own", function()
    for name, figure in pairs(kinds()) do
      local paths = assert(figure:save_all(folder .. "/" .. name), name)
      assert.same({ "gp", "svg", "png" }, { paths[1]:sub(-2), paths[2]:sub(-3), paths[3]:sub(-3) })
      local again = folder .. "/again"
      run{ "mkdir", "-p", again }
      for _, arguments in ipairs{ { "gnuplot", "-d", paths[1] }, { "gnuplot", "-d", "-c", paths[1], "png" } } do
        local result = run(arguments, { cwd = again })
        assert.equal(0, result.code, result.stderr)
      end
      assert.equal(read(paths[2]), read(again .. "/" .. name .. ".svg"), name)
      assert.equal(read(paths[3]), read(again .. "/" .. name .. ".png"), name)
    end
  end)

  it("shows texts in the svg literally", function()
    local figure = plot.lines({ ["loss_{train}^2"] = { 1, 2 } }, { title = "a_b^c {d} \\n & <tag> 'q' \"r\" `ls` @m\nsecond" })
    figure:save(folder .. "/t.svg")
    local seen = read(folder .. "/t.svg"):gsub("<[^>]*>", ""):gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&quot;", '"')
      :gsub("&apos;", "'"):gsub("&#%d+;", "'"):gsub("&amp;", "&")
    for _, part in ipairs{ "loss_{train}^2", "a_b^c {d} \\n & <tag>", "'q'", '"r"', "`ls` @m", "second" } do
      assert.is_truthy(seen:find(part, 1, true), part .. " is missing")
    end
  end)

  it("replaces invalid UTF-8 and control characters", function()
    plot.lines({ { name = "n\xC3", y = { 1, 2 } } }, { title = "t\xFF\0\27[31m\u{85}" }):save(folder .. "/t.svg")
    local bytes = read(folder .. "/t.svg")
    assert.is_truthy(utf8.len(bytes))
    assert.is_nil(bytes:find("[%z\1-\8\11-\31]"))
    assert.is_truthy(bytes:find("\u{FFFD}"))
  end)

  it("keeps long lines small and every peak of them", function()
    local y = {}
    for i = 1, 100000 do y[i] = math.sin(i / 5000) end
    y[54321] = 17.25
    y[54323] = -13.5
    local started = process.time()
    local figure = plot.lines(y)
    figure:save(folder .. "/long.svg")
    figure:save(folder .. "/long.gp")
    assert.is_true(process.time() - started < 5)
    local script = read(folder .. "/long.gp")
    local _, rows = script:gsub("\n[%d.]+ [-%d.e]+\n?", "")
    assert.is_true(rows > 900 and rows <= 2002, rows .. " rows")
    assert.is_truthy(script:find("\n54321 17.25\n", 1, true))
    assert.is_truthy(script:find("\n54323 -13.5\n", 1, true))
    assert.is_truthy(script:find("\n100000 ", 1, true))
    assert.is_true(#read(folder .. "/long.svg") < 150000)
  end)

  it("keeps the outline of a long curve whose x goes back and forth", function()
    local x, y = {}, {}
    for i = 1, 20000 do x[i], y[i] = math.cos(i / 300), math.sin(i / 300) end
    x[7777] = 9
    plot.lines({ x = x, y = y }):save(folder .. "/loop.gp")
    assert.is_truthy(read(folder .. "/loop.gp"):find("\n9 ", 1, true))
  end)

  it("leaves out what can't be drawn, and says so", function()
    local path, note = plot.lines({ a = { 1, 0, -1, 0 / 0, 5 } }, { logy = true }):save(folder .. "/a.gp")
    assert.is_truthy(path)
    assert.is_truthy(note:find("3 of 5 points left out", 1, true))
    assert.is_truthy(read(path):find("\n1 1\n\n5 5\nEOD", 1, true))
    local figure = plot.lines({ 0 / 0 })
    figure:save(folder .. "/b.svg")
    assert.is_truthy(read(folder .. "/b.svg"):find("no finite data", 1, true))
    assert.is_truthy(table.concat(figure:notes()):find("no finite data", 1, true))
    assert.same({}, plot.lines({ 1, 2 }):notes())
  end)

  it("takes anything with a tolist method, and copies what it is given", function()
    local tensor = setmetatable({}, { __index = { tolist = function() return { 4, 5, 6 } end } })
    local list = { 1, 2, 3 }
    local figure = plot.lines({ { y = tensor, x = list } })
    list[1] = 99
    figure:save(folder .. "/a.gp")
    assert.is_truthy(read(folder .. "/a.gp"):find("\n1 4\n2 5\n3 6\n", 1, true))
    plot.lines(tensor):save(folder .. "/b.gp")
    assert.is_truthy(read(folder .. "/b.gp"):find("\n3 6\n", 1, true))
    plot.lines({ s = tensor }, { x = { 7, 8, 9 } }):save(folder .. "/c.gp")
    assert.is_truthy(read(folder .. "/c.gp"):find("\n9 6\n", 1, true))
  end)

  it("draws a table of named series in the order of the names", function()
    plot.lines({ c = { 1, 2 }, a = { 2, 3 }, b = { 3, 4 } }, { legend = "below" }):save(folder .. "/a.gp")
    local order = {}
    for name in read(folder .. "/a.gp"):gmatch("title '(%a)'") do order[#order + 1] = name end
    assert.same({ "a", "b", "c" }, order)
  end)

  it("says what is wrong with bad input, and where", function()
    local column = setmetatable({}, { __index = { tolist = function() return { { 1, 2 }, { 2, 3 } } end } })
    local cases = {
      { function() plot.lines(column) end, "nested" },
      { function() plot.lines({ a = { 1, "x" } }) end, "series 'a'.y[2] is a string", },
      { function() plot.lines("abc") end, "not a string" },
      { function() plot.lines(nil) end, "not a nil" },
      { function() plot.lines({ 1, 2 }, { titel = "x" }) end, "unknown option 'titel' (known: colorbar, colors, height" },
      { function() plot.lines({ 1, 2 }, { title = {} }) end, "option title must be a text" },
      { function() plot.lines({ 1, 2 }, { xrange = { 2, 1 } }) end, "must rise" },
      { function() plot.lines({ 1, 2 }, { yrange = { 0, 1 }, logy = true }) end, "above 0" },
      { function() plot.lines({ 1, 2 }, { legend = "outer space" }) end, "legend must be" },
      { function() plot.lines({ 1, 2 }, { width = 3 }) end, "pixels from 100" },
      { function() plot.lines({ { y = { 1, 2 }, x = { 1 } } }) end, "series 1.x has 1 values, but y has 2" },
      { function() plot.lines({ { y = { 1, 2 }, colour = 2 } }) end, "unknown field 'colour'" },
      { function() plot.lines({ { y = { 1 }, color = "red; system('ls')" } }) end, "color must be" },
      { function() plot.lines({ { y = { 1 }, band = { { 1 } } } }) end, "band[2] is a nil" },
      { function() plot.lines({ { 1 }, a = { 1 } }) end, "not both" },
      { function() plot.figure{ panels = {} } end, "at least one figure" },
      { function() plot.figure{ panels = { 3 } } end, "panels[1] must be a figure" },
      { function() plot.lines({ 1 }):save("figure.bmp") end, "must end in" },
      { function() plot.lines({ 1 }):save("a\0.svg") end, "zero byte" },
      { function() plot.lines({ 1 }):save("a.svg", { timeout = -1 }) end, "timeout must be" },
      { function() plot.save("a.svg", "b") end, "the figure is a string" },
    }
    for _, case in ipairs(cases) do
      local ok, message = pcall(case[1])
      assert.is_false(ok, case[2])
      assert.is_truthy(message:find(case[2], 1, true), message)
      assert.is_truthy(message:find("plot_spec.lua:%d+:"), "no place of the user's in: " .. message)
    end
  end)

  it("returns nil and a message where a file can't be written", function()
    local path, message = plot.lines({ 1, 2 }):save(folder .. "/nowhere/a.svg")
    assert.is_nil(path)
    assert.is_truthy(message:find("nowhere", 1, true))
  end)

  it("describes itself", function()
    local one = tostring(plot.lines({ a = { 1, 2 } }, { title = "loss" }))
    assert.is_truthy(one:find("'loss': 1 panel, 1 series", 1, true))
  end)

  -- ---- gnuplot in trouble: each in a process of its own, where warnings can be counted --------------------------

  local function run_script(source, gnuplot, wrapper)
    local path = write(folder .. "/script.lua", source)
    local command = { "env", "PLUMB_GNUPLOT=" .. (gnuplot or "gnuplot"), "PLUMB_GNUPLOT_TIMEOUT=" .. (gnuplot and 0.5 or 30) }
    table.move(wrapper or {}, 1, #(wrapper or {}), #command + 1, command)
    table.move({ absolute(PLUMB), path }, 1, 2, #command + 1, command)
    return run(command, { cwd = folder, timeout = 300 })
  end

  local TWO_SAVES = [[
    local plot = require "plumb.plot"
    local figure = plot.lines({ 1, 2, 3 }, { title = "t" })
    print(figure:save("a.svg"))
    print(figure:save("b.png"))
    print(figure:show())
    print("the end")
  ]]

  local function assert_survives(gnuplot, reason)
    write(folder .. "/a.svg", "an older figure")
    local started = process.time()
    local result = run_script(TWO_SAVES, gnuplot)
    assert.is_true(process.time() - started < 10, "it waited too long")
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stdout:find("the end\n$"))
    assert.is_truthy(result.stdout:find("^nil\t[^\n]*" .. reason), result.stdout)
    local _, warnings = result.stderr:gsub("plumb: ", "")
    assert.equal(1, warnings, result.stderr)
    assert.is_truthy(result.stderr:find(reason), result.stderr)
    assert.equal("an older figure", read(folder .. "/a.svg"))
    assert.is_nil(read(folder .. "/b.png"))
    assert.is_truthy(read(folder .. "/a.gp"):find("$panel1_series1 << EOD\n1 1\n2 2\n3 3\nEOD\n", 1, true))
    assert.is_truthy(read(folder .. "/b.gp"))
  end

  local function fake_gnuplot(body)
    local path = write(folder .. "/fake", "#!/bin/sh\n" .. body)
    run{ "chmod", "+x", path }
    return path
  end

  it("survives a missing gnuplot", function()
    assert_survives("/nonexistent", "can't start '/nonexistent'")
  end)

  it("survives a stuck gnuplot, and ends it", function()
    assert_survives(fake_gnuplot("echo $$ >> " .. folder .. "/pids\nsleep 61\n"), "did not finish within 0.5 seconds")
    for pid in read(folder .. "/pids"):gmatch("%d+") do
      local state = read("/proc/" .. pid .. "/stat") -- a zombie of some reaper that does not reap is dead enough
      assert.is_true(state == nil or state:find(") Z", 1, true) ~= nil, "the stuck process lives on")
    end
  end)

  it("survives a gnuplot that ignores SIGTERM", function()
    assert_survives(fake_gnuplot("trap '' TERM\nwhile :; do sleep 1; done\n"), "did not finish")
  end)

  it("survives a gnuplot that dies", function()
    assert_survives(fake_gnuplot("head -c 10 > /dev/null\nkill -9 $$\n"), "ended by signal 9")
  end)

  it("survives a gnuplot that reads nothing", function()
    assert_survives(fake_gnuplot("exit 0\n"), "made no whole svg")
  end)

  it("does not take half a drawing for a figure", function()
    assert_survives(fake_gnuplot("cat > /dev/null\nprintf '<?xml version=\"1.0\"?><svg>'\n"), "made no whole svg")
  end)

  it("passes gnuplot's own words on", function()
    local fake = fake_gnuplot("cat > /dev/null\necho 'line 7: the paper is out' >&2\nexit 3\n")
    local path, message = plot.lines({ 1, 2 }):save(folder .. "/w.svg", { gnuplot = fake })
    assert.is_nil(path)
    assert.is_truthy(message:find("exit code 3", 1, true))
    assert.is_truthy(message:find("line 7: the paper is out", 1, true))
    assert.is_truthy(read(folder .. "/w.gp"))
  end)

  it("says which kind a gnuplot can't draw", function()
    local fake = fake_gnuplot("sed 's/pdfcairo/paperless/' | exec gnuplot -d -\n")
    local path, message = plot.lines({ 1, 2 }):save(folder .. "/p.pdf", { gnuplot = fake })
    assert.is_nil(path)
    assert.is_truthy(message:find("^this gnuplot draws no pdf, it was built without that; the figure is saved as the script"), message)
    assert.is_nil(read(folder .. "/p.pdf"))
  end)

  it("ignores the user's start-up file", function()
    write(folder .. "/.gnuplot", "set terminal dumb\nset output 'hijacked'\n")
    local result = run_script([[assert(require("plumb.plot").lines({ 1, 2 }):save("a.svg"))]], nil, { "env", "HOME=" .. folder })
    assert.equal(0, result.code, result.stderr)
    assert_svg(read(folder .. "/a.svg"))
    assert.is_nil(read(folder .. "/hijacked"))
  end)

  -- ---- hostile texts ---------------------------------------------------------------------------------------------

  local HOSTILE = [==[
    local hostile = {
      "`touch canary`", "'`touch canary`'",
      '"`touch canary`"', "''`touch canary`''", "\\`touch canary\\`", "a'`touch canary`",
      "'.system('touch canary').'", "' . system('touch canary') . '",
      '".system("touch canary")."', "\\'.system('touch canary').\\'",
      "''.system('touch canary').''", "'''.system('touch canary').'''",
      "system('touch canary')", "\\\"; system 'touch canary'",
      "'; system 'touch canary'; '", "'\nsystem 'touch canary'\n'",
      "\nsystem 'touch canary'\n", "x\n!touch canary\n", "!touch canary",
      "\n!touch canary", "'\n!touch canary\n", "\r!touch canary\r",
      "\r\n!touch canary\r\n", "'\r\n!touch canary\r\n'",
      "| touch canary", "|touch canary", "< touch canary", "<touch canary",
      "'|touch canary'", "'<touch canary'", "\"<touch canary\"",
      "'; plot '<touch canary'; '", "'; set output '|touch canary'; '",
      "\nset output '|touch canary'\n", "\nplot '<touch canary'\n",
      "'\nplot '<touch canary'\n'", "@canary", "'@system('touch canary')'",
      "@ARG1 @GPVAL_TERMINALS", "'@ARG0", "x'@ARG0'", "'@GPVAL_TERMINALS'", "\"'@ARG0", "'\n@ARG0", "'; eval \"system('touch canary')\"; '",
      "\neval('!touch canary')\n",
      "'; do for [i=1:1] { system('touch canary') }; '", "\nEOD\nsystem 'touch canary'\n", "EOD", "\nEOD\n",
      "$d << EOD\n`touch canary`\nEOD", "x\\", "x\\\nsystem('touch canary')",
      "\\\n!touch canary", "'", "''", "'''", "\"", "\\", "\\\\'",
      "# `touch canary`", "'# \nsystem('touch canary')", "{/=30 a_b^c}",
      "{/:Bold `touch canary`}", "a_b^{c} ~a{.8-} &{x} @^2_3",
      "%s %d %n %c", "%{x}", "\\140touch canary\\140",
      "\\x60touch canary\\x60", "\27]0;`touch canary`\7", "\0`touch canary`",
      "\xFF\xFE`touch canary`\xC3", "\u{2018}`touch canary`\u{2019}",
      "$(touch canary)", "${IFS}; touch canary;", "; touch canary #",
      "&& touch canary", "</text><script>touch canary</script>", "]]>",
      "&amp;&#96;touch canary&#96;", "--help", "-e \"system('touch canary')\"",
      ("'"):rep(301), ("`touch canary` "):rep(200), "call 'canary'",
      "load '< touch canary'", "'; load '<touch canary'; '",
      "'; shell; '", "\nshell\ntouch canary\n", "import f from 'canary'",
      "\nset table '|touch canary'; plot x\n", "\u{85}!touch canary\u{2028}",
    }
    local plumb = require "plumb"
    local plot, process, nn = plumb.plot, plumb.core.process, plumb.nn
    local set = { x = plumb.ones(2, 1), y = plumb.ones(2, 1) }
    local run = plumb.fit(nn.Linear(1, 1), set, { loss = nn.MSELoss(), optimizer = plumb.optim.SGD { lr = 0.1 }, epochs = 2,
      progress = false })
    for i, text in ipairs(hostile) do
      local options = { title = text, xlabel = text, ylabel = text, y2label = text }
      local named = plot.lines({ [text] = { 1, 2, 3 }, ["x" .. text] = { 2, 1, 2 } }, options)
      local listed = plot.scatter({ { name = text, y = { 1, 2 } }, { name = text, y = { 0 / 0 } },
        { name = text, y = { 3, 4 }, axis = 2, labels = { text, text } } }, options)
      local grouped = plot.scatter({ y = { 1, 2 }, group = { text, "b" }, color = { 1, 2 } }, { title = text, zlabel = text })
      local direct = plot.lines({ [text] = { 1, 2, 3 }, b = { 2, 1, 2 } }, { legend = "direct", ylabel = text })
      local heatmap = plot.heatmap({ { 1, 2 }, { 3, 4 } }, { title = text, xlabel = text, ylabel = text, zlabel = text,
        row_labels = { text, "b" }, column_labels = { "a", text }, numbers = true })
      pcall(function() plot.heatmap({ { 1, 2 }, { 3, 4 } }, { numbers = text }):save("n.svg") end)
      for _, option in ipairs { "color", "marker", "style", "size", "dash", "width", "axis" } do -- what is no free text
        assert(not pcall(plot.lines, { { y = { 1, 2 }, [option] = text } }), option)
      end
      for _, option in ipairs { "legend", "colors", "xrange", "logx", "width", "x", text } do
        assert(not pcall(plot.lines, { 1, 2 }, { [option] = text }), option)
      end
      for _, option in ipairs { "levels", "x", "y", "zrange", "colors" } do
        assert(not pcall(plot.contour, { { 1, 2 }, { 3, 4 } }, { [option] = text }), option)
      end
      assert(not pcall(plot.histogram, { 1, 2 }, { bins = text }))
      assert(not pcall(plot.images, plumb.zeros(1, 2, 2), { columns = text }))
      for _, ask in ipairs { { as = text }, { window = text }, { timeout = text } } do assert(not pcall(named.show, named, ask)) end
      local images = plot.images(plumb.zeros(2, 3, 3), { titles = { text, "b" }, title = text, xlabel = text, ylabel = text,
        zlabel = text, colorbar = true })
      local image = plot.image(plumb.zeros(3, 3, 3), { titles = { text }, title = text })
      local runs = plot.lines({ [text] = run, b = run }, { title = text, xlabel = text })
      local named_samples = plot.histogram({ [text] = { 1, 2 }, b = { 2, 3 } })
      local binned = plot.lines({ plot.binned({ name = text, y = { 1, 2, 3, 4, 5, 6 } }, 2) }, { legend = "below" })
      local histogram = plot.histogram({ { name = text, y = { 1, 2, 3 } } }, { title = text, xlabel = text, ylabel = text })
      local field = { title = text, xlabel = text, ylabel = text, zlabel = text }
      local surface = plot.surface({ { 1, 2 }, { 3, 4 } }, field)
      field.series = { { name = text, x = { 1, 2 }, y = { 1, 2 }, labels = { text } },
        { x = { 1, 2 }, y = { 2, 1 }, group = { text, "b" } } }
      local contour = plot.contour({ { 1, 2 }, { 3, 4 } }, field)
      local figure = plot.figure{ title = text, columns = 3,
        panels = { named, listed, grouped, direct, heatmap, images, image, histogram, named_samples, surface, contour, runs, binned,
          plot.run(run, { title = text, ylabel = text }) } }
      local name = text:gsub("[%z/]", "_"):sub(1, 80)
      assert(named:save(name .. ".svg"))
      assert(figure:save(name .. ".gp"))
      assert(plot.figure { title = text, panels = { listed, grouped, histogram, runs, heatmap, images, contour } }:text(80))
      assert(named:show { as = "sixel" })
      local started, drawn = pcall(named.text, named, 80, { gnuplot = text }) -- the name of a program, not a command
      assert(not (started and drawn))
      assert(os.remove(name .. ".svg"))
      local redrawn = assert(process.run{ "gnuplot", "./" .. name .. ".gp" })
      assert(redrawn.code == 0, text .. ": " .. redrawn.stderr)
      assert(not redrawn.stderr:find("not a string variable", 1, true), redrawn.stderr)
      assert(os.remove(name .. ".gp"))
    end
    print("\n", #hostile)
  ]==]

  -- strace stops at execve alone. LeakSanitizer, in a build that has it, cannot work under strace.
  local function strace_command(log)
    if not has_program("strace") or run{ "strace", "-f", "--seccomp-bpf", "-o", log, "true" }.code ~= 0 then return nil end
    return { "env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=execve", "-o", log }
  end

  it("never runs what a text says; strace sees that gnuplot alone is started", function()
    local log = folder .. "/strace.log"
    local strace = strace_command(log)
    local result = run_script(HOSTILE, nil, strace)
    assert.equal(0, result.code, result.stderr)
    assert.is_true(tonumber(result.stdout:match("(%d+)%s*$")) >= 60)
    assert.is_nil(read(folder .. "/canary"))
    assert.is_nil(result.stderr:find("not a string variable", 1, true), result.stderr) -- no @macro was looked up
    run({ "gnuplot", "-d", "-" }, { stdin = 'set title "`touch canary`"\n', cwd = folder })
    assert.is_truthy(read(folder .. "/canary"), "the canary itself does not work")
    if not strace then return end
    local gnuplots = 0
    for line in read(log):gmatch("[^\n]*execve%([^\n]*= 0") do
      if line:find('["gnuplot", "', 1, true) then
        gnuplots = gnuplots + 1
      else
        assert.equal(0, gnuplots, "something else was started: " .. line) -- before the first, only plumb itself
      end
    end
    assert.is_true(gnuplots >= 600, gnuplots .. " runs of gnuplot seen")
  end)
end)

describe("plot.binned", function()
  it("makes medians and quantiles of even bins, and leaves short curves alone", function()
    local y = {}
    for i = 1, 1000 do y[i] = (i - 1) // 10 + (i % 10) / 10 end -- bin k holds k - 1 + {0, 0.1, ... 0.9}
    local made = plot.binned({ name = "noisy", y = y, color = 2 }, 100)
    assert.equal(100, #made.y)
    assert.equal("noisy", made.name)
    assert.equal(2, made.color)
    assert.near(7.45, made.y[8], 1e-12)
    assert.near(7.09, made.band[1][8], 1e-12)
    assert.near(7.81, made.band[2][8], 1e-12)
    assert.equal(75.5, made.x[8])
    assert.same({ 3, 1, 2 }, plot.binned({ y = { 3, 1, 2 } }).y)
    assert.has_error(function() plot.binned { 1, 2 } end)
  end)
end)

describe("process.run", function()
  it("moves megabytes both ways without a deadlock", function()
    local bytes = ("plumb\n"):rep(500000)
    local result = run({ "tee", "/dev/stderr" }, { stdin = bytes })
    assert.is_true(result.stdout == bytes and result.stderr == bytes)
    assert.equal(0, result.code)
    assert.equal(0, run({ "true" }, { stdin = bytes }).code)
  end)

  it("reports how a program ended", function()
    assert.equal(7, run{ "sh", "-c", "exit 7" }.code)
    local killed = run{ "sh", "-c", "kill -9 $$" }
    assert.same({ 9, nil }, { killed.signal, killed.code })
    local result, message = process.run{ "/nonexistent/program" }
    assert.is_nil(result)
    assert.is_truthy(message:find("can't start '/nonexistent/program'", 1, true))
    assert.is_nil((process.run({ "true" }, { cwd = "/nonexistent" })))
  end)

  it("ends a program and its children after the timeout", function()
    local started = process.time()
    local result = run({ "sh", "-c", "sleep 47; echo late" }, { timeout = 0.2 })
    assert.is_true(result.timed_out)
    assert.equal("", result.stdout)
    assert.is_true(process.time() - started < 3)
  end)

  it("does not wait for a grandchild that keeps the pipes", function()
    local started = process.time()
    local result = run({ "sh", "-c", "setsid sleep 5 & echo done" }, { timeout = 30 })
    assert.equal("done\n", result.stdout)
    assert.is_true(process.time() - started < 3)
  end)

  it("gives the child default signals and no descriptor beyond 0, 1, 2", function()
    local kept <close> = assert(io.open("/dev/null"))
    assert.equal("file", io.type(kept))
    -- The fourth is the one with which ls reads the folder.
    assert.equal("0\n1\n2\n3\n", run{ "ls", "/proc/self/fd" }.stdout)
    local ignored = tonumber(run{ "grep", "SigIgn", "/proc/self/status" }.stdout:match("%x+$") or "", 16)
      or tonumber(run{ "grep", "SigIgn", "/proc/self/status" }.stdout:match("SigIgn:%s*(%x+)"), 16)
    assert.equal(0, ignored & (1 << 12), "SIGPIPE is ignored in the child")
  end)

  it("leaves no descriptor and no zombie behind", function()
    local function descriptors()
      collectgarbage()
      collectgarbage() -- files that other tests dropped are closed by now
      return run{ "sh", "-c", "cat; ls -l /proc/$PPID/fd" }.stdout -- cat ends when the start is over, and its pipes are closed
    end
    local function count(listing) return select(2, listing:gsub("\n", "")) end
    local before = descriptors()
    for _ = 1, 20 do
      run({ "cat" }, { stdin = "x" })
      process.run{ "/nonexistent" }
      run({ "sleep", "9" }, { timeout = 0.001 })
      assert.is_false((pcall(process.run, { "true" }, { timeout = 0 })))
    end
    local after = descriptors()
    assert.is_true(count(after) <= count(before), before .. after)
    assert.equal("", run{ "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | grep \") Z $PPID \"" }.stdout)
  end)

  it("refuses what is no command", function()
    for _, argv in ipairs{ {}, { 1 }, { "a\0b" }, { "echo", {} } } do
      assert.is_false((pcall(process.run, argv)))
    end
    assert.is_false((pcall(process.run, { "true" }, { stdin = 5 })))
    assert.is_false((pcall(process.run, nil)))
  end)

  it("knows terminals and the time", function()
    assert.is_false(process.isatty(-1))
    local first = process.time()
    assert.is_true(process.time() >= first)
    local width = process.terminal_width()
    assert.is_true(width == nil or math.type(width) == "integer")
  end)
end)
