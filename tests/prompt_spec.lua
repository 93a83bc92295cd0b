-- The prompt where there is no terminal: statements, values, errors, questions.
local programs = require "programs"
local plumb, write_file, new_folder = programs.plumb, programs.write_file, programs.new_folder

teardown(programs.remove_folders)

local function prompt(input, ...) return plumb({ "-i", ... }, { input = input }) end

--- What was shown for each statement, without banner and prompts.
local function answers(input, ...)
  local out = prompt(input, ...).out:gsub("^[^\n]*\n", ""):gsub("\n$", "")
  return (out:gsub("> ", ""):gsub(">", ""))
end

--- What was reported for the errors of these statements.
local function errors(input, ...) return prompt(input, ...).err end

local function has(text, ...)
  for _, part in ipairs { ... } do
    if not text:find(part, 1, true) then error(("%q lacks %q"):format(text, part), 2) end
  end
end

local function lacks(text, part)
  if text:find(part, 1, true) then error(("%q has %q"):format(text, part), 2) end
end

describe("statements", function()
  it("have a banner and prompts, and end with a newline", function()
    assert.same({ code = 0, out = "plumb 0.1.0  (Lua 5.4)\n> 2\n> >> 3\n> \n", err = "" }, prompt("1 + 1\nprint(\n3)\n"))
  end)

  it("are run, and expressions show their values", function()
    assert.equal("1\tnil\tx\n", answers("1, nil, 'x'\n"))
    assert.equal("5\n", answers("x = 5\nx\n"))
    assert.equal("8\n", answers("return 8\n"))
    assert.equal("9\n", answers("=9\n"))
    assert.equal("", answers("\n-- a comment\n;\n"))
    assert.equal("no newline at the end\n", answers("'no newline at the end'"))
  end)

  it("may have several lines", function()
    assert.equal("1\n2\n", answers("for i = 1, 2 do\nprint(i)\nend\n"))
    assert.equal("3\n", answers("1 +\n2\n"))
    assert.equal("2\n", answers("#{\n1,\n2\n}\n"))
    assert.equal("a\nb\n", answers("[[a\nb]]\n"))
  end)

  it("show nothing with a semicolon behind them", function()
    assert.equal("", answers("5;\n'x' ;  \n{1,\n2};\n"))
    assert.equal("5\n5\n", answers("5 -- a comment;\n5--;\n"))
    assert.equal("7\n", answers("7;\n_\n"))
  end)

  it("keep the last values", function()
    assert.equal("1\n2\n3\n3\n2\n1\n", answers("1\n2\n3\n_\n_2\n_4\n"))
    assert.equal("5\n5\n", answers("5\nnil;\n_\n"))
    assert.equal("a\tb\na\n", answers("'a', 'b'\n_\n"))
    assert.equal("nil\n", answers("for i = 1, 5 do _ = i end\n_1\n"))
  end)

  it("that the end of input cuts off are reported", function()
    local result = prompt("for i = 1, 2 do")
    assert.equal("error: 'end' expected near <eof>\n", result.err)
    assert.equal(0, result.code)
  end)

  it("may be a megabyte long, and hold any bytes", function()
    assert.equal("1000000\n", answers("#'" .. ("x"):rep(1000000) .. "'\n"))
    assert.equal("\255\254\n", answers("'\255\254'\n"))
    has(errors("\255\254\n"), "error: unexpected symbol near '<\\255>'")
  end)

  it("may return very many values", function()
    local result = prompt("table.unpack({}, 1, 9000)\ntable.unpack({}, 1, 999990)\n'alive'\n")
    has(result.out, "... 8960 more", "> alive")
  end)

  it("take the prompts from _PROMPT and _PROMPT2, whatever they are", function()
    has(prompt("(\n1)\n", "-e", "_PROMPT = 'one ' _PROMPT2 = 'two '").out, "one two 1\none \n")
    has(prompt("1\n", "-e", "_PROMPT = setmetatable({}, { __tostring = function() return 'object ' end })").out, "object 1\n")
    has(prompt("1\n", "-e", "_PROMPT = setmetatable({}, { __tostring = error })").out, "> 1\n> \n")
  end)
end)

describe("values", function()
  it("are shown as what they are", function()
    assert.equal("{1, 2, \"x\\n\", true}\n", answers("{1, 2, 'x\\n', true}\n"))
    assert.equal('{a = 1, ["b c"] = {}, f = function(x, y)  -- stdin[1]:1, t = tensor float32 (2)}\n',
      answers("{a = 1, ['b c'] = {}, t = plumb.zeros(2), f = function(x, y) end}\n"))
    assert.equal("{{1 entry}, {2 entries}, [0] = 0, [10] = 10, [true] = 1}\n", answers("{{1}, {1,x=2}, [10]=10, [0]=0, [true]=1}\n"))
    assert.equal("[[1, 2],\n [3, 4]]\n[float32 (2, 2)]\n", answers("plumb.tensor{{1,2},{3,4}}\n"))
    assert.equal("function(f, options)  -- plumb/transform.lua\n", (answers("plumb.grad\n"):gsub(":%d+", "")))
    assert.equal("operator sum(x, axes:axes?, keepdim:boolean?)\nfunction, in C\n", answers("plumb.sum\nprint\n"))
    assert.equal("Adam{lr = 0.1}\n", answers("optim.Adam{lr = 0.1}\n"))
    has(answers("nn\n"), "Linear = nn.Linear(inputs, outputs, {bias = true})", "mse_loss = function(prediction, target)")
    assert.equal("1\n{2}\n[3]\n[float32 (1)]\n", answers("1, {2}, plumb.tensor{3}\n"))
  end)

  it("that are figures are drawn, unless they are muted", function()
    local drawn = answers("plot.lines({1, 2}, {title = 'drawn here'})\n")
    has(drawn, "   drawn here\n", "+-----", "*")
    lacks(drawn, "figure")
    assert.equal("", answers("plot.lines({1, 2}, {title = 'drawn here'});\n"))
    has(answers("7, plot({1, 2}, {title = 'first'}), 8, plot.heatmap({{1, 2}}, {title = 'second'})\n"), "7\t8\n", " first\n",
      "\nsecond\n    1  2\n1   1  2\n")
    has(answers("f = plot.lines({1, 2}, {title = 'again'});\nf\n"), "  again\n")
    has(answers("{plot.lines {1}}\n"), "figure 'untitled': 1 panel")
    local without = plumb({ "-i" }, { input = "plot.lines {1}\nplot.lines {2}\n", environment = "PLUMB_GNUPLOT=/nonexistent" })
    has(without.out, "> figure 'untitled': 1 panel", "\n> figure 'untitled': 1 panel")
    local _, warnings = without.err:gsub("can't start '/nonexistent'", "")
    assert.equal(1, warnings)
    os.remove(without.err:match("script '([^']+)'"))
  end)

  it("that are called like functions are shown by what they say of themselves", function()
    has(answers("fit\nplot\n"), "fit(model, train, options) ", "plot(series, options), plot(x, series, options)")
  end)

  it("that are large are shown in part", function()
    local out = answers("t = {} for i = 1, 1e5 do t[i], t['k' .. i] = i, i end\nt\n{t}\n('x'):rep(100)\n{('x'):rep(100)}\n")
    has(out, "  40,\n  k1", "... 199920 more", "{{200000 entries}}", ("\n%s\n"):format(("x"):rep(100)),
      ('{"%s"...}'):format(("x"):rep(60)))
  end)

  it("that cannot be shown are errors", function()
    local result = prompt("setmetatable({}, { __tostring = function() error('no text') end })\n"
      .. "{setmetatable({}, {__name = 5})};\n'alive'\n")
    has(result.err, "no text")
    has(result.out, "> alive\n")
    assert.equal("5\nalive\n", answers("print, io.write = nil\n5\n'alive'\n"))
  end)

  it("show a model as a table of its layers", function()
    assert.equal([[
     Sequential      output    parameters
1    Flatten()       (n, 6)             0
2    Linear(6, 4)    (n, 4)            28
3.1  Tanh()          (n, 4)             0
3.2  Linear(4, 300)  (n, 300)       1,500
1,528 parameters, float32
]], answers("nn.Sequential{nn.Flatten(), nn.Linear(6, 4), nn.Sequential{nn.Tanh(), nn.Linear(4, 300)}}\n"))
  end)
end)

describe("errors", function()
  it("of values that are computed when they are shown say what is wrong, not where in the library", function()
    assert.equal("error: linalg.inv: A is singular: its row 1 depends on the rows before it\n", errors("linalg.inv(zeros(600, 600))\n"))
  end)

  it("show the user's own lines, and the shapes of the tensors in them", function()
    assert.equal([[
error: add: shapes (2, 2) and (7) do not fit together
  stdin[2]:3  return y + set.b -- a comment
    y float32 (2, 2), set.b float32 (7)
]], errors("set = {b = zeros(7)}\nfunction f(x)\nlocal y = x * 2\nreturn y + set.b -- a comment\nend\nf(zeros(2, 2))\n"))
    local names = {}
    for i = 1, 198 do names[i] = "n" .. i end -- with two others as many as Lua allows
    has(errors("function f(x)\nlocal " .. table.concat(names, ", ") .. "\nlocal y = zeros(7)\nreturn x + y\nend\nf(zeros(2))\n"),
      "x float32 (2), y float32 (7)")
  end)

  it("leave out plumb's lines, and say how often a function called itself", function()
    local text = errors("function g(n) if n == 0 then error('deep') end g(n - 1) return 1 end\n"
      .. "function f()\n  g(5)\n  return 1\nend\nf()\n")
    has(text, "error: deep\n  stdin[1]:1  function g(n)", "(called 6 times or more)\n  stdin[2]:2  g(5)\n")
    text = errors("local function r() return 1 + r() end\nr()\nfunction r() return 1 + r() end\nr()\n")
    has(text, "error: 'r' is not defined: a local ends", "error: stack overflow")
    lacks(errors("nn.Linear('x')\n"), "plumb/nn")
    has(errors("require('plumb.experiment').start(5)\n"), "error: ")
  end)

  it("come from any value", function()
    assert.equal("error: first\nerror: syntax error near 'y'\nerror: (error object is a nil value)\nerror: object\n",
      errors("error('first')\nx y\nerror()\nerror(setmetatable({}, { __tostring = function() return 'object' end }))\n"))
    has(errors("if true then\nx y\nend\n"), "error: syntax error near 'y'\n  stdin[1]:2  x y\n")
    has(prompt("error('first')\ntraceback()\n").out, "first\nstack traceback:\n\t[C]: in function 'error'\n\tstdin[1]:1: in main chunk")
  end)

  it("tell an undefined name, and the nearest one", function()
    has(errors("modle = 5\nmodel\n"), "error: 'model' is not defined; did you mean 'modle'?\n")
    has(errors("lienar\nzeroes(3)\nprnit(1)\nqqqqqqq\n"), "did you mean 'zeros'?", "did you mean 'print'?", "'qqqqqqq' is not defined\n")
    has(errors("local hidden = 5\nhidden\n"), "'hidden' is not defined: a local ends with its statement")
    has(errors("function f() return nowhere end\nf()\n"), "'nowhere' is not defined", "stdin[1]:1  function f()")
    assert.equal("nil\n", answers("rawget(_G, 'unknown')\n"))
  end)

  it("tell the nearest field or method", function()
    has(errors("nn.Liner(3)\nset = {xs = 1}\nset.x.y\nx = zeros(3)\nx:summ()\nm = nn.Linear(1, 2)\nm:state_dct()\nm.wieght:sum()\n"),
      "(field 'Liner'); did you mean 'Linear'?", "did you mean 'xs'?", "did you mean 'sum'?", "did you mean 'state_dict'?",
      "did you mean 'weight'?")
    lacks(errors("nn.Qqqqqqq(3)\n"), "mean")
  end)

  it("in other files are Lua's: there an undefined global is nil", function()
    local folder = new_folder()
    write_file(folder .. "/loose.lua", "local t = unknown_name\nreturn unpack or table.unpack")
    assert.equal("true\n", answers(("dofile('%s/loose.lua') == table.unpack\n"):format(folder)))
    has(plumb({ "-e", "print(unknown_name)" }).out, "nil")
  end)
end)

describe("globals", function()
  local LIBRARY = "package.preload.plumb = function() return { answer = 42, shared = 'library' } end"

  it("are the library's fields, which the user's own names win over", function()
    assert.equal("42\n42\n", answers("answer\nplumb.answer\n", "-e", LIBRARY))
    assert.equal("mine\n", answers("shared = 'mine'\nshared\n", "-e", LIBRARY))
    assert.equal("nil\n", answers("rawget(_G, 'answer')\n", "-e", LIBRARY))
    assert.equal("early\n", answers("shared\n", "-e", "shared = 'early'", "-e", LIBRARY))
  end)

  it("keep the metatable that they had", function()
    local strict = "setmetatable(_G, { __index = function(_, name) error('undefined ' .. name, 2) end })"
    local result = prompt("answer\nunknown\n", "-e", strict, "-e", LIBRARY)
    has(result.out, "> 42\n")
    has(result.err, "undefined unknown")
    assert.equal("42\nold\n", answers("answer\nfallback\n", "-e", "setmetatable(_G, { __index = { fallback = 'old' } })", "-e", LIBRARY))
  end)

  it("are plain Lua's, after one warning, when the library can't be loaded", function()
    for _, broken in ipairs { "function() error('broken') end", "function() error() end", "function() return true end" } do
      local result = prompt("1 + 1\nunknown\nerror('x')\n", "-e", "package.preload.plumb = " .. broken)
      has(result.out, "> 2\n> nil\n")
      assert.truthy(result.err:find("^plumb's library is missing[^\n]*\nstdin:1: x\nstack traceback"), result.err)
    end
  end)

  it("are listed by who, with their sizes", function()
    assert.equal("There is nothing of yours yet.\n", answers("who()\n"))
    assert.equal([[
data_set        {2 entries}
f               function(x)  -- stdin[2]:1
model     68 B  nn.Linear, 17 parameters
name       5 B  "hello"
x         8 kB  tensor float32 (2000)
]], answers("name = 'hello' x = zeros(2000)\nmodel = nn.Linear(16, 1) data_set = {1, y = x} function f(x) end\nwho()\n"))
  end)
end)

describe("starting", function()
  it("runs the user's file, whose errors do not matter", function()
    local folder = new_folder()
    assert(os.execute(("mkdir -p %s/plumb"):format(folder)))
    write_file(folder .. "/plumb/init.lua", "started = 'from ' .. type(zeros) print('hello')")
    local options = { input = "started\n", environment = "XDG_CONFIG_HOME=" .. folder }
    has(plumb({ "-i" }, options).out, "hello\n> from function\n")
    write_file(folder .. "/plumb/init.lua", "x = = 1")
    options.input = "'alive'\n"
    local result = plumb({ "-i" }, options)
    has(result.err, "init.lua:1: unexpected symbol")
    has(result.out, "> alive\n")
    write_file(folder .. "/plumb/init.lua", "error('bad start')")
    result = plumb({ "-i" }, options)
    has(result.err, "error: bad start", "init.lua:1")
    has(result.out, "> alive\n")
  end)

  it("follows a script that went well", function()
    local script = new_folder() .. "/script.lua"
    write_file(script, "kept = 'kept ' .. ...")
    has(plumb({ "-i", script, "argument" }, { input = "kept\n" }).out, "> kept argument\n")
    write_file(script, "error('stop')")
    local result = plumb({ "-i", script }, { input = "print('unreached')\n" })
    assert.equal(1, result.code)
    lacks(result.out, "unreached")
  end)

  it("shows no colours without a terminal", function()
    local result = plumb({ "-i" }, { input = "{a = 1}\nerror('x')\nhelp(nn.Linear)\n", environment = "TERM=xterm COLORTERM=1" })
    lacks(result.out .. result.err, "\27")
  end)

  it("ends with exit and quit", function()
    for _, name in ipairs { "exit", "quit" } do
      local result = prompt(name .. "()\n'unreached'\n")
      assert.equal(0, result.code)
      lacks(result.out, "unreached")
    end
  end)
end)

describe("questions", function()
  it("explain what is documented", function()
    has(answers("?nn.Linear\n"), "nn.Linear(inputs, outputs, {bias = true}): y = x W^T + b", "uniform in +-1/sqrt(inputs)")
    has(answers("?softmax\n"), "softmax(x, axis:axis): e^x divided by its sum along an axis.")
    has(prompt("?plumb.grad\n?fit\n").out, "grad(f, {count = 1}) -> a function", "fit(model, train, options) -> run")
    has(prompt("x = zeros(3)\n?x:item\n?x\n").out, "t:item() -> the number", "Methods: allclose,")
    has(prompt("m = nn.Linear(1, 2)\n?m:state_dict\n?m\n").out, "module:state_dict() ->", "Methods: ")
    has(answers("?nn\n? \n??\n"), "layers, models and losses", "Ctrl-D leaves")
    assert.equal(answers("?nn.Linear\n"), answers("help(nn.Linear)\n"))
    has(answers("do\n--- double(x): two of them.\nfunction double(x) return 2 * x end\nend\n?double\n"), "two of them")
  end)

  it("search", function()
    has(answers('?"hessian"\n'), "hvp(f)(x, v, ...)")
    has(answers("?'mean squared'\n"), "Nothing in the reference has mean squared.")
    has(answers("?softmx\n?logits\n?undefined_thing\n"), "did you mean 'softmax'?", "nn.cross_entropy(logits, target)",
      "Nothing is known of")
  end)

  it("show the source of Lua functions", function()
    has(answers("??nn.mse_loss\n"), "plumb/nn/losses.lua:", "function losses.mse_loss(prediction, target)\n", "square():mean()\nend\n")
    has(answers("function f(x)\n  return x -- mine\nend\n??f\n"), "-- stdin[1]:1\nfunction f(x)\n  return x -- mine\nend\n")
    has(answers("??print\n??nothing\n"), "'print' is written in C", "'nothing' is not a function.")
  end)
end)
