--- Figures on the screen: which way of showing is chosen, windows that stay, sixel, and runs that are watched. Each test starts
--- plumb as a user would, with a gnuplot that is the real one behind a window that is a file.

local plumb = require "plumb"
local support = require "support"
local folders = require "folders"
local plot, process = plumb.plot, plumb.core.process
local read, write = folders.read, folders.write

local ROOT = debug.getinfo(1, "S").source:match("^@(.*)tests/[^/]*$") or "./"
local PLUMB = os.getenv("PLUMB") or (ROOT == "" and "./" or ROOT) .. "plumb"

local folder

-- A zombie of some reaper that does not reap is dead enough.
local function is_alive(pid)
  local file = io.open("/proc/" .. pid .. "/stat")
  if not file then return false end
  local state = file:read("a") or ") Z"
  file:close()
  return not state:find("%) [ZX]")
end

before_each(function()
  folder = os.tmpname()
  os.remove(folder)
  plumb.core.files.make_directory(folder)
end)

after_each(function() folders.remove(folder) end)

local function executable(name, text)
  local path = write(folder .. "/" .. name, "#!/bin/sh\n" .. text)
  process.run { "chmod", "+x", path }
  return path
end

-- A gnuplot with a window terminal "wxt": it draws to window-1.svg and so on; its process id goes to the file pids.
local function gnuplot_with_windows()
  return executable("gnuplot-with-windows", ([[
echo $$ >> %s/pids
exec 3>&2
sed -u -e "s/GPVAL_TERMINALS/' dumb svg wxt '/" \
  -e "s/^set terminal wxt \([0-9]*\) .*/set output; set terminal svg; set output '%s\/window-\1.svg'/" \
  | gnuplot -d - 2>&3
]]):format(folder, folder:gsub("/", "\\/")))
end

local function run_in(environment, command)
  local argv = { "env", "-u", "DISPLAY", "-u", "WAYLAND_DISPLAY", "-u", "PLUMB_PLOT" }
  for name, value in pairs(environment or {}) do argv[#argv + 1] = name .. "=" .. value end
  table.move(command, 1, #command, #argv + 1, argv)
  return assert(process.run(argv, { timeout = 60 }))
end

local function run_script(source, environment)
  return run_in(environment, { PLUMB, write(folder .. "/script.lua", source) })
end

local WINDOWS = { DISPLAY = ":0", PLUMB_PLOT = "window" }

local function with_windows(more)
  local environment = { PLUMB_GNUPLOT = gnuplot_with_windows() }
  for name, value in pairs(WINDOWS) do environment[name] = value end
  for name, value in pairs(more or {}) do environment[name] = value end
  return environment
end

describe("figure:show", function()
  it("prints characters where nobody looks at a screen", function()
    local result = run_script([[print(require("plumb.plot").lines({ 1, 2 }, { title = "the title" }):show())]], { DISPLAY = ":0" })
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stdout:find("the title", 1, true))
    assert.is_truthy(result.stdout:find("true\n$"))
    assert.is_nil(result.stdout:find("\27", 1, true))
  end)

  it("draws into windows of one gnuplot, which keeps them", function()
    local result = run_script([[
      local plot = require "plumb.plot"
      print(plot.lines({ 1, 2 }, { title = "first" }):show())
      print(plot.heatmap({ { 1, 2 }, { 3, 4 } }, { title = "second" }):show { window = 2 })
      print(plot.figure { panels = { plot.lines { 1 }, plot.lines { 2 } }, title = "third" }:show { window = 3 })
      print(plot.lines({ 1, 2 }, { title = "again" }):show())
    ]], with_windows())
    assert.equal(0, result.code, result.stderr)
    assert.equal("", result.stderr)
    assert.equal("true\ntrue\ntrue\ntrue\n", result.stdout)
    for number, title in pairs { [0] = "again", "second", "third" } do
      local bytes = read(folder .. "/window-" .. number .. ".svg")
      assert.is_truthy(bytes:find(">" .. title .. "<", 1, true))
      assert.is_truthy(bytes:find("</svg>%s*$"), "the drawing was cut short")
    end
    assert.equal(2, select(2, read(folder .. "/pids"):gsub("%d+", ""))) -- one was asked what it can, one draws
  end)

  it("says so where there is no window to be had", function()
    local result = run_script([[print(require("plumb.plot").lines({ 1, 2 }):show { as = "window" })]])
    assert.is_truthy(result.stdout:find("nil\tthere is no display", 1, true), result.stdout)
    assert.is_truthy(result.stdout:find("saved as the script '", 1, true))
    os.remove(result.stdout:match("script '([^']+)'"))
  end)

  local TROUBLE = [[
    local plot, process = require "plumb.plot", require("plumb.core").process
    local display = require "plumb.plot.display"
    local figure = plot.lines({ 1, 2, 3 }, { title = "kept" })
    assert(figure:show { timeout = 30 })
    local worker = display.open_window({}).worker
    process.run { "kill", "-SIGNAL", "--", "-" .. worker:pid() }
    local started = process.time()
    print(figure:show())
    assert(process.time() - started < 20)
    print((figure:show { timeout = 30 }))
  ]]

  it("survives a gnuplot that was stopped: one warning, a script, and the next figure is shown", function()
    local result = run_script(TROUBLE:gsub("SIGNAL", "STOP"), with_windows { PLUMB_GNUPLOT_TIMEOUT = "1" })
    assert.equal(0, result.code, result.stderr)
    local path = result.stdout:match("^nil\tgnuplot did not finish within 1 seconds and was ended; [^\n]* '([^']+)'\ntrue\n$")
    assert.is_truthy(path, result.stdout)
    assert.is_truthy(read(path):find("title 'kept'", 1, true))
    os.remove(path)
    assert.equal(1, select(2, result.stderr:gsub("plumb: ", "")))
    for pid in read(folder .. "/pids"):gmatch("%d+") do
      local deadline = process.time() + 20 -- the last one was let go and ends by itself
      while is_alive(pid) and process.time() < deadline do process.run { "sleep", "0.05" } end
      assert.is_false(is_alive(pid), "process " .. pid .. " is left behind")
    end
  end)

  it("starts another gnuplot after one was killed", function()
    local script = TROUBLE:gsub("SIGNAL", "KILL") .. " collectgarbage() print((figure:show { timeout = 30 }))"
    local result = run_script(script, with_windows())
    assert.equal(0, result.code, result.stderr)
    local _, failures = result.stdout:gsub("nil", "") -- the figure that met the dying gnuplot
    assert.is_true(failures <= 1, result.stdout)
    assert.is_truthy(result.stdout:find("true\n$"), result.stdout)
    -- One was asked what it can, one was killed, and one draws, also when what was kept of the killed one is collected.
    assert.equal(3, select(2, read(folder .. "/pids"):gsub("%d+", "")))
  end)

  it("passes on what a window's gnuplot says when it fails", function()
    local fake = executable("failing", [[
      read line
      case "$line" in *TERMINALS*) echo " wxt " >&2;; *) echo "line 7: no more ink" >&2; exit 3;; esac
    ]])
    local result = run_script([[print(require("plumb.plot").lines({ 1, 2 }):show())]],
      { DISPLAY = ":0", PLUMB_PLOT = "window", PLUMB_GNUPLOT = fake })
    assert.equal(0, result.code, result.stderr)
    assert.is_truthy(result.stdout:find("nil\tgnuplot ended without drawing the figure:\nline 7: no more ink", 1, true), result.stdout)
    os.remove(result.stdout:match("script '([^']+)'"))
  end)

  it("checks its options", function()
    local figure = plot.lines { 1 }
    support.fails_here(function() return (figure:show { as = "film" }) end, 'as must be "window", "sixel" or "text"')
    support.fails_here(function() return (figure:show { window = 0 }) end, "window must be a whole number above 0")
  end)
end)

-- ---- terminals -------------------------------------------------------------------------------------------------------

-- Runs plumb on a pseudo-terminal (script, of util-linux) whose user gives the answer when asked what the terminal can do.
local function on_terminal(source, answer, gnuplot)
  write(folder .. "/script.lua", source)
  write(folder .. "/terminal.sh", ([[
    cd '%s'
    mkfifo keys
    exec 3<>keys
    script -qfec "'%s' script.lua" /dev/null < keys | {
      [ -n '%s' ] && IFS= read -r -d c question && printf '%%s' "$question" > question && printf '%%b' '%s' >&3
      cat > screen
    }
  ]]):format(folder, PLUMB:sub(1, 1) == "/" and PLUMB or os.getenv("PWD") .. "/" .. PLUMB, answer or "", answer or ""))
  local result = run_in({ TERM = "xterm", PLUMB_GNUPLOT = gnuplot }, { "bash", folder .. "/terminal.sh" })
  assert.equal(0, result.code, result.stderr)
  return read(folder .. "/screen")
end

describe("a terminal", function()
  local SHOW = [[
    local plumb = require "plumb"
    local shown = plumb.plot.lines({ 1, 2 }, { title = "on the screen" }):show()
    io.write("|", tostring(shown), "|")
  ]]

  it("that says it knows sixel gets the figure in pixels", function()
    local screen = on_terminal(SHOW, "\\033[?62;4;22c")
    assert.equal("\27[", read(folder .. "/question"))
    assert.is_truthy(screen:find("\27P[^\27]+\27\\"), "no sixel on the screen")
    assert.is_truthy(screen:find("|true|", 1, true))
    assert.is_nil(screen:find("62;4", 1, true), "the answer is on the screen")
  end)

  it("gets the pixels where the cursor is, though gnuplot 6 would go to the top of the screen", function()
    local gnuplot = executable("gnuplot-6", [[
      test -e asked || { touch asked; exec gnuplot "$@"; } # what terminals there are
      printf '\033[H'
      exec gnuplot "$@"
    ]])
    local screen = on_terminal(SHOW, "\\033[?62;4;22c", gnuplot)
    assert.is_truthy(screen:find("\27P[^\27]+\27\\"), "no sixel on the screen")
    assert.is_truthy(screen:find("|true|", 1, true))
    assert.is_nil(screen:find("\27[H", 1, true))
  end)

  it("that does not know sixel gets characters", function()
    local screen = on_terminal(SHOW, "\\033[?1;2c")
    assert.is_truthy(screen:find("on the screen", 1, true))
    assert.is_nil(screen:find("\27P", 1, true))
    assert.is_nil(screen:find("1;2", 1, true), "the answer is on the screen")
  end)

  it("that does not answer gets characters after a moment", function()
    local screen = on_terminal(SHOW)
    assert.is_truthy(screen:find("on the screen", 1, true))
    assert.is_truthy(screen:find("|true|", 1, true))
    assert.equal("\27[c", screen:match("^[^\r\n ]*\27%[c"))
  end)

  it("is not asked where it is none", function()
    assert.is_nil(process.ask_terminal("\27[c", "c", 0.01))
    assert.is_false((pcall(process.ask_terminal, "\27[c", "cc", 1)))
    assert.is_false((pcall(process.ask_terminal, "\27[c", "c", 0 / 0)))
    assert.is_nil((process.terminal_pixels()))
  end)
end)

-- ---- watching --------------------------------------------------------------------------------------------------------

local TRAIN = [[
  local plumb = require "plumb"
  local nn = plumb.nn
  plumb.manual_seed(1)
  local x = plumb.linspace(-1, 1, 100):reshape(-1, 1)
  local set = { x = x, y = (x * 5):sin() }
  local model = nn.Sequential { nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1) }
  local started = plumb.core.process.time()
  local run = plumb.fit(model, set, { loss = nn.MSELoss(), optimizer = plumb.optim.Adam { lr = 1e-2 }, epochs = 1e6 // 1 | 0,
    batch = 50, validate = set, progress = false, watch = WATCH,
    on_epoch = function(run) return run.epoch < 50 or plumb.core.process.time() - started < 0.6 end })
  print("epochs", run.epoch > 0, run.watcher ~= nil)
]]

local function train(watch, environment) return run_script((TRAIN:gsub("WATCH", watch)), environment) end

describe("run:watch", function()
  it("draws the losses in a window while the training goes on", function()
    local result = train("{ interval = 0.05 }", with_windows())
    assert.equal(0, result.code, result.stderr)
    assert.equal("epochs\ttrue\ttrue\n", result.stdout)
    assert.equal("", result.stderr)
    local bytes = read(folder .. "/window-0.svg")
    for _, part in ipairs { ">epoch<", ">loss<", ">training", ">test", "</svg>" } do
      assert.is_truthy(bytes:find(part, 1, true), part .. " is missing")
    end
  end)

  it("draws with characters where asked to, and nothing where nobody looks", function()
    local drawn = train("{ as = 'text', interval = 0.05 }")
    assert.equal(0, drawn.code, drawn.stderr)
    assert.is_true(select(2, drawn.stdout:gsub("vertical: loss", "")) >= 2, drawn.stdout)
    assert.is_nil(drawn.stdout:find("\27", 1, true)) -- it is no terminal
    local quiet = train("true")
    assert.equal("epochs\ttrue\ttrue\n", quiet.stdout)
  end)

  it("draws pixels where a terminal knows them, each figure in the place of the one before", function()
    local screen = on_terminal((TRAIN:gsub("WATCH", "{ interval = 0.05 }")), "\\033[?62;4;22c")
    local _, figures = screen:gsub("\27P[^\27]+\27\\", "")
    assert.is_true(figures >= 2, figures .. " figures")
    -- rows are made free, the cursor goes to the first, is kept, and comes back
    local first, rows = screen:match("([\r\n]+)\27%[(%d+)A\0277\27P")
    assert.equal(tonumber(rows), select(2, first:gsub("\n", "")))
    assert.is_truthy(screen:find(("\27\\\0278\27[%dB\27[%dA\27[J"):format(rows, rows), 1, true), "the second is elsewhere")
    assert.is_truthy(screen:find(("\27[%dB"):format(rows) .. "epochs\ttrue", 1, true))
  end)

  it("draws less often where drawing is work for gnuplot", function()
    local busy = executable("busy", [[
      exec perl -e '$| = 1; while (<STDIN>) { if (/^print .(plumb_drawn_\d+)/) {
        my $end = times + 0.05; while (times < $end) {} print "x\n"; print STDERR "$1\n" } }'
    ]])
    local drawn = train("{ as = 'text', interval = 0.05 }", { PLUMB_GNUPLOT = busy }).stdout
    local figures = select(2, drawn:gsub("x\n", ""))
    assert.is_true(figures >= 2 and figures <= 3, drawn) -- two show what a figure costs, and the last one comes at the end
  end)

  it("costs the training nothing when gnuplot is missing, dies or hangs: one warning and a script", function()
    local reasons = { ["/nonexistent"] = "can't start", [executable("dying", "exit 1\n")] = "ended while it was drawing",
      [executable("hanging", "exec sleep 60\n")] = "did not finish within 0.2 seconds" }
    for gnuplot, reason in pairs(reasons) do
      local result = train("{ as = 'text', interval = 0.05 }",
        { PLUMB_GNUPLOT = gnuplot, PLUMB_GNUPLOT_TIMEOUT = "0.2" })
      assert.equal(0, result.code, result.stderr)
      assert.equal("epochs\ttrue\ttrue\n", result.stdout)
      assert.is_truthy(result.stderr:find(reason, 1, true), result.stderr)
      assert.equal(1, select(2, result.stderr:gsub("plumb: ", "")))
      local path = result.stderr:match("script '([^']+)'")
      assert.is_truthy(read(path):find("set xlabel 'epoch'", 1, true))
      os.remove(path)
    end
  end)

  it("changes no bit of the training, and keeps curves short", function()
    local function fitted(watch)
      plumb.manual_seed(2)
      local x = plumb.linspace(-1, 1, 20):reshape(-1, 1)
      local model = plumb.nn.Sequential { plumb.nn.Linear(1, 4), plumb.nn.Tanh(), plumb.nn.Linear(4, 1) }
      local run = plumb.fit(model, { x = x, y = x * x }, { loss = plumb.nn.MSELoss(), optimizer = plumb.optim.SGD { lr = 0.1 },
        epochs = 900, batch = 20, progress = false, watch = watch })
      return model.theta, run
    end
    local one, run = fitted { as = "text", interval = 1000 }
    support.same_bits((fitted(false)), one, "theta")
    local figure = run.watcher:figure()
    local losses = figure.panels[1].layers[1].series
    assert.is_true(#losses.y >= 200 and #losses.y <= 400, #losses.y .. " points")
    local width = run.watcher.records.train_loss.track.width
    local sum = 0
    for epoch = 1, width do sum = sum + run.train_loss[epoch] end
    assert.near(sum / width, losses.y[1], 1e-12)
    assert.near((1 + width) / 2, losses.x[1], 1e-12)
  end)

  it("checks its options", function()
    local model = plumb.nn.Sequential { plumb.nn.Linear(1, 1) }
    local set = { x = plumb.ones(2, 1), y = plumb.ones(2, 1) }
    local function fit(watch)
      return function()
        return (plumb.fit(model, set, { loss = plumb.nn.MSELoss(), optimizer = plumb.optim.SGD { lr = 0.1 }, progress = false,
          watch = watch }))
      end
    end
    support.fails_here(fit(7), "watch must be true, false or a table of options")
    support.fails_here(fit { every = 2 }, "unknown option 'every'")
    support.fails_here(fit { interval = -1 }, "interval must be a positive number of seconds")
  end)
end)
