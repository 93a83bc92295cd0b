-- The prompt on a terminal, driven as a user would: keys in, what the screen shows out.
local programs = require "programs"
local open_terminal, capture = programs.open_terminal, programs.capture

local PASTE_START, PASTE_END = "\27[200~", "\27[201~"
local CTRL_C, CTRL_D, UP, TAB = "\3", "\4", "\27[A", "\t"

teardown(programs.remove_folders)

-- The prompt still works: it computes something whose text was not typed.
local function is_alive(terminal, number)
  terminal:type(("'still ' .. 'here %d'\r"):format(number or 1))
  terminal:expect(("still here %d\r\n"):format(number or 1))
  terminal:expect("> ")
end

local function leave(terminal)
  terminal:type(CTRL_D)
  assert.equal(0, terminal:finish())
end

describe("typing", function()
  it("edits lines, shows values, and leaves at Ctrl-D", function()
    local terminal = open_terminal()
    terminal:type("6 * 8\b7\r")
    terminal:expect("42\r\n")
    terminal:type("for i = 1, 2 do\r")
    terminal:expect(">> ")
    terminal:type("print('turn ' .. i) end\r")
    terminal:expect("turn 1\r\nturn 2\r\n")
    terminal:type("error('oh')\r")
    terminal:expect("error:\27[0m oh")
    leave(terminal)
    assert.equal("plumb 0.1.0  (Lua 5.4)\r\n", terminal.screen:match("plumb [^\n]*\n"))
  end)

  it("has colours only where they are wanted", function()
    for _, environment in ipairs { "NO_COLOR=1", "TERM=dumb" } do
      local terminal = open_terminal { environment = environment }
      terminal:type("error('oh')\r")
      terminal:expect("error: oh")
      leave(terminal)
      assert.falsy(terminal.screen:find("\27%[[%d;]*m"), environment)
    end
  end)

  it("runs a pasted block whole, as one entry of the history", function()
    local terminal = open_terminal()
    local lines = { "local sum = 0", "for i = 1, 40 do" }
    for i = 3, 39 do lines[i] = "\tsum = sum + i" end
    lines[40] = "end print('sum is ' .. sum)"
    terminal:type(PASTE_START .. table.concat(lines, "\r") .. PASTE_END .. "\r")
    terminal:expect("sum is 30340\r\n")
    terminal:type(UP .. "\r")
    terminal:expect("sum is 30340\r\n")
    leave(terminal)
  end)

  it("clears the line at Ctrl-C, and a statement of several lines", function()
    local terminal = open_terminal()
    terminal:type("print('never '")
    terminal:expect("print('never '")
    terminal:type(CTRL_C)
    terminal:expect("\n")
    terminal:expect("> ")
    terminal:type("if true then\r")
    terminal:expect(">> ")
    terminal:type(CTRL_C)
    terminal:expect("\n")
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
    assert.falsy(terminal.screen:find("error:", 1, true))
  end)

  it("drops a statement that Ctrl-D cuts off", function()
    local terminal = open_terminal()
    terminal:type("for i = 1, 2 do\r")
    terminal:expect(">> ")
    terminal:type(CTRL_D)
    terminal:expect("'end' expected near <eof>")
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
  end)

  it("takes bytes that are not UTF-8, control characters and a megabyte in one line", function()
    local terminal = open_terminal()
    terminal:type("'\255\254' .. #'\195\164\228\189\160' + 40\r") -- what is valid comes through whole
    terminal:expect("45\r\n")
    terminal:type("\27[200~'\1\2\27[31m'\27[201~\r")
    terminal:expect("> ")
    is_alive(terminal)
    terminal:type(PASTE_START .. "#'" .. ("x"):rep(1000000) .. "'" .. PASTE_END .. "\r")
    terminal:expect("1000000\r\n")
    is_alive(terminal)
    leave(terminal)
  end)
end)

describe("a figure", function()
  it("shows itself with characters that fit the terminal", function()
    local terminal = open_terminal()
    terminal:type("plot.lines({1, 4, 2}, {title = 'on the ' .. 'screen'})\r")
    terminal:expect("on the screen\r\n")
    terminal:expect("+----")
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
  end)

  it("that gnuplot does not finish is left at Ctrl-C", function()
    local gnuplot = programs.new_folder() .. "/hanging"
    programs.write_file(gnuplot, "#!/bin/sh\nexec sleep 100\n")
    os.execute("chmod +x " .. gnuplot)
    local terminal = open_terminal { environment = "PLUMB_PLOT=text PLUMB_GNUPLOT=" .. gnuplot }
    for turn = 1, 3 do
      terminal:type("plot.lines({1, 4, 2})\r")
      os.execute(("sleep %.3f"):format(math.random() * 0.3))
      terminal:type(CTRL_C)
      terminal:press_until(("'turn ' .. 'is %d'\r"):format(turn), ("turn is %d\r\n"):format(turn))
    end
    leave(terminal)
    assert.falsy(terminal.screen:find("error:", 1, true))
  end)
end)

describe("history", function()
  it("goes on in the next session, each statement one entry, in a private file", function()
    local terminal = open_terminal()
    terminal:type("for i = 1, 1 do\rprint('lo' .. 'op') end\r")
    terminal:expect("loop\r\n")
    leave(terminal)
    local file = terminal.state .. "/plumb/history"
    assert.equal("600 700", capture(("stat -c %%a %s %s/plumb | xargs"):format(file, terminal.state)))
    local second = open_terminal { state = terminal.state }
    second:type(UP .. "\r")
    second:expect("loop\r\n")
    leave(second)
  end)

  it("survives a crash", function()
    local terminal = open_terminal()
    terminal:type("print('bef' .. 'ore')\r")
    terminal:expect("before\r\n")
    terminal:type("plumb.core.process.run({'kill', '-9', io.open('/proc/self/stat'):read('n') .. ''})\r")
    terminal:finish()
    local second = open_terminal { state = terminal.state }
    second:type(UP .. UP .. "\r")
    second:expect("before\r\n")
    leave(second)
  end)

  it("is done without where none can be written", function()
    local terminal = open_terminal { state = "/proc" }
    terminal:type("1 + 1\r")
    terminal:expect("2\r\n")
    leave(terminal)
    assert.falsy(terminal.screen:lower():find("histor", 1, true))
  end)
end)

describe("Tab", function()
  it("completes names, fields, methods, options, modules and files", function()
    local terminal = open_terminal { arguments = "" }
    local function completes(typed, expected)
      terminal:type(typed .. TAB)
      terminal:expect(expected)
      terminal:type(CTRL_C)
      terminal:expect("\n")
      terminal:expect("> ")
    end
    completes("nn.Seque", "nn.Sequential")
    completes("print(plumb.value_an", "plumb.value_and_grad")
    completes("optim.Adam{wei", "weight_decay = ")
    completes("require 'plumb.experiment.metr", "plumb.experiment.metrics'")
    completes("io.open('/proc/self/comm", "/proc/self/comm'")
    completes("io.open('/pro", "/proc/")
    terminal:type("some_model = nn.Sequential{nn.Linear(1, 2)}\r")
    terminal:expect("> ")
    completes("some_mo", "some_model")
    completes("some_model:load_st", "some_model:load_state_dict")
    terminal:type("plot.l" .. TAB .. TAB)
    terminal:expect("plot.lines")
    terminal:type(CTRL_C)
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
  end)

  it("sees the lines above, indents at the start of a line, and offers nothing in a comment", function()
    local terminal = open_terminal()
    terminal:type("x = optim.SGD{\r")
    terminal:expect(">> ")
    terminal:type(TAB .. "nest" .. TAB .. "false, momen" .. TAB .. "0.5 } print('lr', x.momentum)\r")
    terminal:expect("\rlr\t0.5\r\n")
    terminal:type("-- prin" .. TAB .. TAB .. "\r")
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
    assert.falsy(terminal.screen:find("-- print", 1, true))
  end)

  it("runs nobody's code", function()
    local terminal = open_terminal()
    terminal:type("trap = setmetatable({real_field = 1}, {__index = function() print('sprung') while true do end end, __names = error})\r")
    terminal:expect("> ")
    terminal:type("trap.x.y" .. TAB .. TAB .. CTRL_C)
    terminal:expect("> ")
    terminal:type("trap.rea" .. TAB)
    terminal:expect("trap.real_field")
    terminal:type("\r")
    terminal:expect("\r1\r\n")
    leave(terminal)
    assert.falsy(terminal.screen:find("[\r\n]sprung"))
  end)
end)

describe("help", function()
  it("explains, searches and shows sources", function()
    local terminal = open_terminal()
    local function answers(question, ...)
      terminal:type(question .. "\r")
      for _, text in ipairs { ... } do terminal:expect(text) end
      terminal:expect("> ")
    end
    answers("?nn.Linear", "y = x W^T + b", "uniform in +-1/sqrt(inputs)")
    answers("help(optim.Adam)", "m = b1 m + (1 - b1) g")
    answers("??nn.mse_loss", "-- ", "plumb/nn/losses.lua:", "function losses.mse_loss(prediction, target)", "end\r\n")
    answers('?"weight decay"', "optim.AdamW")
    answers("function mine(x)\r  return 2 * x\rend\r??mine", "-- stdin[", "\r\n  return 2 * x\r\n")
    answers("zeroes(3)", "'zeroes' is not defined; did you mean 'zeros'?")
    leave(terminal)
  end)
end)

describe("Ctrl-C", function()
  -- Types a statement that prints "busy" and does not end, then presses Ctrl-C after a random moment, over and over.
  local function interrupts(terminal, statement, times)
    for turn = 1, times do
      terminal:type(statement .. "\r")
      terminal:expect("busy")
      os.execute(("sleep %.3f"):format(math.random() * 0.2))
      terminal:type(CTRL_C)
      terminal:expect("interrupted!")
      terminal:expect("> ")
      is_alive(terminal, turn)
    end
  end

  it("ends a loop, a coroutine and a match, again and again", function()
    local terminal = open_terminal()
    interrupts(terminal, "io.write('bu' .. 'sy') io.flush() while true do end", 4)
    interrupts(terminal, "io.write('bu' .. 'sy') io.flush() while true do pcall(function() while true do end end) end", 4)
    interrupts(terminal, "io.write('bu' .. 'sy') io.flush() coroutine.wrap(function() while true do pcall(pcall, pcall) end end)()", 4)
    interrupts(terminal, "print('bu' .. 'sy') string.find(('a'):rep(50), ('a?'):rep(50) .. ('a'):rep(50))", 4)
    leave(terminal)
  end)

  it("ends training, with model and data as they were", function()
    local terminal = open_terminal()
    terminal:type("x = linspace(-1, 1, 500):reshape(-1, 1) set = {x = x, y = x * x} model = nn.Sequential{nn.Linear(1, 30), nn.Tanh(), "
      .. "nn.Linear(30, 1)} fit(model, set, {loss = nn.MSELoss(), optimizer = optim.Adam{}, epochs = 1, progress = false});\r")
    terminal:expect("> ")
    interrupts(terminal, "print('bu' .. 'sy') run = fit(model, set, {loss = nn.MSELoss(), optimizer = optim.Adam{}, epochs = 1e7})", 6)
    terminal:type("'finite ' .. model.theta:isfinite():min():item(), model(x):shape()[1]\r")
    terminal:expect("finite 1")
    terminal:expect("500")
    leave(terminal)
  end)

  -- A function of the library's that takes its time on the way back from Ctrl-C.
  local SLOW = [[
    local process = require("plumb.core").process
    slow = load("local process, work, leave = ... return function() local ok = process.attempt(work) print('lea' .. 'ving') "
      .. "local start = process.time() while process.time() < start + 0.7 do end if leave then leave() end return { ok = ok } end",
      "@/lua/plumb/pretended.lua")
    function busy() io.write("bu", "sy ") io.flush() while true do end end
    wait, guarded = slow(process, busy), slow(process, busy, busy)
  ]]

  it("pressed again while the library is on its way back is the same one, and takes no result", function()
    local file = programs.new_folder() .. "/slow.lua"
    programs.write_file(file, SLOW)
    local terminal = open_terminal { arguments = "-i " .. file }
    for turn = 1, 3 do
      terminal:type("run = nil run = wait() print('un' .. 'reached')\r")
      terminal:expect("busy ")
      terminal:type(CTRL_C)
      terminal:expect("leaving")
      for _ = 1, 3 do
        os.execute(("sleep %.3f"):format(math.random() * 0.2))
        terminal:type(CTRL_C)
      end
      terminal:expect("interrupted!")
      terminal:expect("> ")
      terminal:press_until(("'%d' .. ' has ' .. tostring(run.ok)\r"):format(turn), ("%d has false"):format(turn))
    end
    terminal:type("run = guarded()\r")
    terminal:expect("busy ")
    terminal:type(CTRL_C)
    terminal:expect("leaving")
    terminal:expect("busy ") -- the user's function on the way back
    terminal:type(CTRL_C)
    terminal:expect("interrupted!")
    terminal:expect("> ")
    is_alive(terminal, 9)
    leave(terminal)
    assert.falsy(terminal.screen:find("unreached", 1, true))
  end)

  it("ends long computations and plots", function()
    local terminal = open_terminal()
    terminal:type("a = randn(1500, 1500):evaluate()\r")
    terminal:expect("> ")
    interrupts(terminal, "print('bu' .. 'sy') while true do pcall(function() a:matmul(a):matmul(a):evaluate() end) end", 4)
    interrupts(terminal, "print('bu' .. 'sy') while true do plot.lines({1, 2, 3}):save('/dev/null/x.png') end", 4)
    leave(terminal)
  end)

  it("says so when nothing can be stopped, and is not lost", function()
    local terminal = open_terminal()
    terminal:type("setmetatable({}, {__gc = function() print('bu' .. 'sy') local start = os.clock() "
      .. "while os.clock() < start + 4 do end end}) collectgarbage() print('un' .. 'reached')\r")
    terminal:expect("busy")
    terminal:press_until(CTRL_C, "cannot be stopped")
    terminal:expect("interrupted!")
    terminal:expect("> ")
    is_alive(terminal)
    leave(terminal)
    assert.falsy(terminal.screen:find("unreached", 1, true))
  end)

  it("never ends the program, however often it is pressed", function()
    local terminal = open_terminal()
    terminal:type("io.write('bu' .. 'sy') io.flush() local t <close> = setmetatable({}, {__close = function() while true do end end}) "
      .. "while true do end\r")
    terminal:expect("busy")
    terminal:press_until(CTRL_C:rep(5), "interrupted!")
    terminal:type(CTRL_C:rep(50))
    terminal:press_until("\r'and ' .. 'now'\r", "and now\r\n") -- the first lines may fall to the interrupts before
    leave(terminal)
  end)
end)
