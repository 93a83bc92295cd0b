-- The interpreter as a user meets it: real processes, compared with Debian's lua5.4, and a real pseudo-terminal.

local function capture(command)
  local pipe <close> = assert(io.popen(command))
  return (pipe:read("a"):gsub("\n$", ""))
end

local ROOT = capture("cd \"$(dirname '" .. debug.getinfo(1, "S").source:sub(2) .. "')/..\" && pwd")
local PLUMB = capture("realpath '" .. (os.getenv("PLUMB") or ROOT .. "/plumb") .. "'")
local LUA = "lua5.4"

-- ---- helpers ----

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read("a") or ""
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

local folders = {}

--- Makes a temporary folder; all of them are removed when the specs end.
local function new_folder()
  local folder = capture("mktemp -d")
  folders[#folders + 1] = folder
  return folder
end

--- Runs `program` with a list of arguments and returns {code =, out =, err =}.
--- Options: input (text for standard input), environment ("NAME=value ..."), folder (working directory).
local function run(program, arguments, options)
  options = options or {}
  local input, out, err = os.tmpname(), os.tmpname(), os.tmpname()
  write_file(input, options.input or "")
  local words = { quote(program) }
  for _, argument in ipairs(arguments) do
    words[#words + 1] = quote(argument)
  end
  local command = ("cd %s && env -u LUA_INIT -u LUA_INIT_5_4 -u LUA_PATH -u LUA_PATH_5_4 %s timeout 60 %s <%s >%s 2>%s"):format(
    quote(options.folder or "/"), options.environment or "", table.concat(words, " "), input, out, err)
  local _, _, code = os.execute(command)
  local result = { code = code, out = read_file(out), err = read_file(err) }
  os.remove(input)
  os.remove(out)
  os.remove(err)
  return result
end

--- Replaces what may differ between the two programs: the path of `program`, and how many calls fit on the stack.
local function without_name(result, program)
  local pattern = program:gsub("%p", "%%%0")
  local function strip(text)
    return (text:gsub(pattern, "PROGRAM"):gsub("skipping %d+ levels", "skipping levels"))
  end
  return { code = result.code, out = strip(result.out), err = strip(result.err) }
end

--- Runs plumb and lua5.4 in the same way, asserts that nobody could tell them apart, and returns what they gave.
local function same(arguments, options)
  local expected = without_name(run(LUA, arguments, options), LUA)
  local actual = without_name(run(PLUMB, arguments, options), PLUMB)
  assert.same(expected, actual)
  return actual
end

local function plumb(...)
  return run(PLUMB, ...)
end

-- ---- the pseudo-terminal ----

--- Opens plumb's prompt on a pseudo-terminal. Methods: type(keys), expect(text) waits until text appears after what was
--- already expected, finish() ends the input and returns the exit code.
local function open_terminal(options)
  options = options or {}
  local record = os.tmpname()
  local state = options.state or new_folder()
  local command = ("cd / && env -u LUA_INIT -u LUA_INIT_5_4 TERM=xterm XDG_STATE_HOME=%s timeout 60 script -qefc %s %s >/dev/null 2>&1")
    :format(quote(state), quote("exec " .. quote(PLUMB) .. " " .. (options.arguments or "")), record)
  local pipe = assert(io.popen(command, "w"))
  pipe:setvbuf("no")
  local terminal = { position = 1, state = state }

  function terminal.type(_, keys)
    pipe:write(keys)
  end

  function terminal:expect(text)
    for _ = 1, 1000 do
      local _, last = read_file(record):find(text, self.position, true)
      if last then
        self.position = last + 1
        return
      end
      os.execute("sleep 0.01")
    end
    error(("the terminal never showed %q; it shows %q"):format(text, read_file(record):sub(self.position)), 2)
  end

  function terminal:finish()
    local _, _, code = pipe:close()
    self.screen = read_file(record)
    os.remove(record)
    return code
  end

  terminal:expect("> ")
  return terminal
end

local PASTE_START, PASTE_END = "\27[200~", "\27[201~"
local CTRL_C, CTRL_D, UP = "\3", "\4", "\27[A"

-- ---- specs ----

teardown(function()
  for _, path in ipairs(folders) do
    os.execute("rm -rf " .. quote(path))
  end
end)

describe("the command line", function()
  local folder, script

  setup(function()
    folder = new_folder()
    script = folder .. "/script.lua"
    write_file(script, "#!/usr/bin/lua\nprint(arg[0], #arg, ...)\nfor i = -6, 6 do print(i, arg[i]) end\n")
    write_file(folder .. "/error.lua", "local function inner() error('deep') end\ninner()\n")
    write_file(folder .. "/syntax.lua", "x = = 1\n")
    write_file(folder .. "/module.lua", "print('loading', ...) return { name = 'module' }\n")
    write_file(folder .. "/-", "print('a file named minus')\n")
  end)

  it("is the same as lua's for every option", function()
    local cases = {
      { "-e", "print(1)" }, { "-eprint(1)" }, { "-e", "x = 1", "-e", "print(x)" }, { "-e", "" },
      { "-e", "print(...)", script, "a", "b" }, { script }, { script, "-e", "print(1)" }, { script, "" },
      { "-" }, { "--" }, { "--", script, "-v" }, { "-", "a", "b" }, { "-W", "-e", "warn('a', 'b')" },
      { "-e", "warn('unseen')" }, { "-e", "warn('@on') warn('seen')" }, { "-W", "-E", "-e", "warn('w') print(2)" },
      { "-l", "string", "-e", "print(string.rep('x', 3))" }, { "-lstring", "-e", "print(string.rep('x', 3))" },
      { "-l", "s=string", "-e", "print(s == string)" }, { "-ls=string", "-e", "print(s == string)" },
      { "-l", "module", "-e", "print(module.name)" }, { "-l", "syntax" }, { "-e", "print(arg[0], arg[1], arg[2], arg[-1])" },
      { "-e", "arg = nil", script }, { "-e", "arg[1] = 'changed' arg[2] = 'more'", script, "a" }, { "-e", "arg = 5" },
      { "--", "-" }, { "", }, { "." }, { "missing.lua" }, { "error.lua" }, { "syntax.lua" }, { "-e", "return 5" },
    }
    for _, arguments in ipairs(cases) do
      same(arguments, { folder = folder, input = "print('from standard input', ...)" })
    end
  end)

  it("gives lua's exit codes and messages for every kind of error", function()
    local cases = {
      "error('text')", "error('text', 0)", "error(42)", "error()", "error({})", "error(print)", "x = = 1", "nothing.field()",
      "error(setmetatable({}, { __tostring = function() return 'object' end }))",
      "error(setmetatable({}, { __tostring = function() return 42 end }))",
      "error(setmetatable({}, { __tostring = function() error('again') end }))",
      "local function f() return f() + 1 end f()", "coroutine.wrap(function() error('inside') end)()",
      "local t <close> = setmetatable({}, { __close = function() print('closed') end }) error('open')",
      "setmetatable({}, { __gc = function() print('collected') end })", "string.rep('x', 1 << 40)",
      "setmetatable(_G, { __index = function(_, name) error('undefined ' .. name) end }) print(x)",
      "os.exit(7)", "os.exit(true, true)", "print(collectgarbage('incremental'))", "os.exit(false)", "print(debug.traceback('here'))",
    }
    for _, code in ipairs(cases) do
      same({ "-e", code, "-e", "print('next')" })
    end
    assert.equal(1, plumb({ "-e", "error('text')" }).code)
  end)

  it("refuses what lua refuses, with lua's exit code, and names the option", function()
    for _, arguments in ipairs({ { "-x" }, { "-e" }, { "-l" }, { "-vv" }, { "-iv" }, { "-Wx" }, { "-Ex" }, { "--version" },
      { "-e", "-x" }, { "-l", "-i" }, { "-v", "-e", "print(1)", "-q" } }) do
      local result = plumb(arguments)
      assert.equal(run(LUA, arguments).code, result.code)
      assert.equal(1, result.code)
      assert.equal("", result.out)
      local option = arguments[#arguments] == "-q" and "-q" or arguments[1]
      assert.truthy(result.err:find("option '" .. option .. "'", 1, true), result.err)
      assert.truthy(result.err:find("usage:", 1, true))
    end
  end)

  it("runs standard input that is not a terminal", function()
    for _, input in ipairs({ "print('x', ...)", "#!first\nprint(2) error('bad')", "x = = 1", "", "print(io.read('l'))\nrest" }) do
      same({}, { input = input })
      same({ "-", "one", "two" }, { input = input })
    end
  end)

  it("knows LUA_INIT as lua does", function()
    for _, environment in ipairs({ "LUA_INIT='print(1)'", "LUA_INIT='print(1)' LUA_INIT_5_4='print(54)'", "LUA_INIT_5_4=",
      "LUA_INIT='error(\"early\")'", "LUA_INIT='x = = 1'", "LUA_INIT=@" .. script, "LUA_INIT=@missing.lua",
      "LUA_INIT='print(#arg, arg[0])'", "LUA_PATH='/nowhere/?.lua' LUA_INIT='print(2)'" }) do
      same({ "-e", "print('main')", script, "a" }, { environment = environment })
      same({ "-E", "-e", "print('main')" }, { environment = environment })
    end
  end)

  it("searches the same places as lua for other modules", function()
    local result, expected = plumb({ "-l", "no_such_module" }), run(LUA, { "-l", "no_such_module" })
    assert.equal(1, result.code)
    local library = plumb({ "-e", "io.write(package.path:match('^[^;?]*'))" }).out
    local kept = {}
    for line in without_name(result, PLUMB).err:gmatch("[^\n]+") do
      if not line:find("no file '" .. library, 1, true) then
        kept[#kept + 1] = line
      end
    end
    assert.equal(without_name(expected, LUA).err, table.concat(kept, "\n") .. "\n")
  end)

  it("turns Ctrl-C into the error 'interrupted!'", function()
    local function interrupt(program)
      local out, err = os.tmpname(), os.tmpname()
      local code = "io.write('go') io.flush() for _ = 1, 5e9 do end"
      local command = ([[%s -e %s >%s 2>%s & child=$!
        for i in $(seq 500); do test -s %s && break; sleep 0.01; done
        kill -INT $child; wait $child]]):format(quote(program), quote(code), out, err, out)
      local _, _, status = os.execute(command)
      local result = { code = status, out = read_file(out), err = read_file(err) }
      os.remove(out)
      os.remove(err)
      return without_name(result, program)
    end
    local result = interrupt(PLUMB)
    assert.same(interrupt(LUA), result)
    assert.truthy(result.err:find("interrupted!", 1, true))
  end)
end)

describe("what plumb adds", function()
  it("names itself and Lua", function()
    assert.same({ code = 0, out = "plumb 0.1.0  (Lua 5.4)\n" .. run(LUA, { "-v" }).out, err = "" }, plumb({ "-v" }))
    assert.equal("1\n", plumb({ "-v", "-e", "print(1)" }).out:match("[^\n]*\n$"))
  end)

  it("finds its library from any working directory, before other modules", function()
    local code = "print(package.searchpath('plumb', package.path)) print(type(package.preload['plumb.core']), package.loaded.plumb)"
    local expected = ROOT .. "/lua/plumb/init.lua\nfunction\tnil\n"
    if PLUMB ~= ROOT .. "/plumb" then
      expected = plumb({ "-e", code }, { folder = "/" }).out
      assert.truthy(expected:find("^/.*/plumb/init.lua\nfunction\tnil\n$"), expected)
    end
    for _, folder in ipairs({ "/", "/tmp", ROOT }) do
      assert.equal(expected, plumb({ "-e", code }, { folder = folder }).out)
      assert.equal(expected, plumb({ "-E", "-e", code }, { folder = folder, environment = "LUA_PATH=/nowhere/?.lua" }).out)
      assert.equal(expected, plumb({ "-e", code }, { folder = folder, environment = "LUA_PATH=/nowhere/?.lua" }).out)
    end
  end)

  it("leaves the rest of the search paths alone", function()
    local code = "print(package.path:match('^[^;]*;[^;]*;(.*)$') or '') print(package.cpath)"
    local lua_code = "print(package.path) print(package.cpath)"
    for _, environment in ipairs({ "", "LUA_PATH='/nowhere/?.lua'", "LUA_PATH='/nowhere/?.lua;;'", "LUA_CPATH=/nowhere/?.so" }) do
      assert.equal(run(LUA, { "-e", lua_code }, { environment = environment }).out,
        plumb({ "-e", code }, { environment = environment }).out)
    end
  end)

  it("finds an installed library beside its bin folder, through a symbolic link too", function()
    local prefix = new_folder()
    assert(os.execute(("mkdir -p %s/bin %s/share/plumb/lua/plumb && cp %s %s/bin/plumb && ln -s %s/bin/plumb %s/link"):format(
      prefix, prefix, quote(PLUMB), prefix, prefix, prefix)))
    write_file(prefix .. "/share/plumb/lua/plumb/init.lua", "return { place = 'installed' }")
    for _, program in ipairs({ prefix .. "/bin/plumb", prefix .. "/link" }) do
      assert.same({ code = 0, out = "installed\n", err = "" }, run(program, { "-e", "print(require('plumb').place)" }))
    end
  end)

  it("says so when its folder can't be searched", function()
    local folder = new_folder() .. "/what?/bin"
    assert(os.execute(("mkdir -p %s && cp %s %s/plumb"):format(quote(folder), quote(PLUMB), quote(folder))))
    local result = run(folder .. "/plumb", { "-e", "print(1)" })
    assert.equal("1\n", result.out)
    assert.truthy(result.err:find("move plumb", 1, true))
  end)

  it("starts in less than 20 ms", function()
    if os.execute("grep -q __asan_init " .. quote(PLUMB)) then
      return pending("not measured in a sanitizer build")
    end
    local best = math.huge
    for _ = 1, 10 do
      local times = capture("date +%s%N; " .. quote(PLUMB) .. " -e ''; date +%s%N")
      local before, after = times:match("(%d+)%s+(%d+)")
      best = math.min(best, (after - before) / 1e6)
    end
    assert.truthy(best < 20, ("best of ten: %.1f ms"):format(best))
  end)
end)

describe("the prompt without a terminal", function()
  local LIBRARY = "package.preload.plumb = function() return { answer = 42, shared = 'library' } end"

  local function prompt(input, ...)
    return plumb({ "-i", "-e", LIBRARY, ... }, { input = input })
  end

  --- What was printed for each statement, without banner and prompts.
  local function answers(input, ...)
    local out = prompt(input, ...).out:gsub("^[^\n]*\n", ""):gsub("\n$", "")
    return (out:gsub("> ", ""):gsub(">", ""))
  end

  it("shows its banner, prompts, and ends with a newline", function()
    assert.same({ code = 0, out = "plumb 0.1.0  (Lua 5.4)\n> 2\n> >> 3\n> \n", err = "" }, prompt("1 + 1\nprint(\n3)\n"))
  end)

  it("prints the values of expressions and runs statements", function()
    assert.equal("1\tnil\tx\n", answers("1, nil, 'x'\n"))
    assert.equal("5\n", answers("x = 5\nx\n"))
    assert.equal("nil\n", answers("local hidden = 5\nhidden\n"))
    assert.equal("8\n", answers("return 8\n"))
    assert.equal("9\n", answers("=9\n"))
    assert.equal("", answers("\n-- a comment\n;\n"))
    assert.equal("no newline at the end\n", answers("'no newline at the end'"))
  end)

  it("joins lines until a statement or an expression is complete", function()
    assert.equal("1\n2\n", answers("for i = 1, 2 do\nprint(i)\nend\n"))
    assert.equal("3\n", answers("1 +\n2\n"))
    assert.equal("2\n", answers("#{\n1,\n2\n}\n"))
    assert.equal("a\nb\n", answers("[[a\nb]]\n"))
  end)

  it("reports errors and goes on", function()
    local object = "setmetatable({}, { __tostring = function() return 'object' end })"
    local result = prompt("error('first')\nx y\nerror()\nerror(" .. object .. ")\n'alive'\n")
    assert.equal(0, result.code)
    assert.truthy(result.out:find("> alive\n", 1, true))
    assert.equal([[
stdin:1: first
stack traceback:
	[C]: in function 'error'
	stdin:1: in main chunk
	[C]: in ?
stdin:1: syntax error near 'y'
(error object is a nil value)
stack traceback:
	[C]: in function 'error'
	stdin:1: in main chunk
	[C]: in ?
object
]], result.err)
  end)

  it("reports a statement that the end of input cuts off", function()
    local result = prompt("for")
    assert.equal("stdin:1: <name> expected near <eof>\n", result.err)
    assert.equal(0, result.code)
  end)

  it("survives values that can't be printed, and too many of them", function()
    local result = prompt("setmetatable({}, { __tostring = error })\nprint = nil\n5\ntable.unpack({}, 1, 999990)\nio.write('alive')\n")
    assert.equal(0, result.code)
    assert.truthy(result.out:find("alive", 1, true))
    assert.truthy(result.err:find("attempt to call a nil value", 1, true))
  end)

  it("takes a line of a megabyte and bytes that are not UTF-8", function()
    assert.equal("1000000\n", answers("#'" .. ("x"):rep(1000000) .. "'\n"))
    assert.equal("\255\254\n", answers("'\255\254'\n"))
  end)

  it("honours _PROMPT and _PROMPT2, whatever they are", function()
    assert.truthy(prompt("(\n1)\n", "-e", "_PROMPT = 'one ' _PROMPT2 = 'two '").out:find("one two 1\none \n", 1, true))
    assert.truthy(prompt("1\n", "-e", "_PROMPT = setmetatable({}, { __tostring = function() return 'object ' end })").out
      :find("object 1\n", 1, true))
    assert.truthy(prompt("1\n", "-e", "_PROMPT = setmetatable({}, { __tostring = error })").out:find("> 1\n> \n", 1, true))
  end)

  it("offers the library's fields as globals that the user's own win over", function()
    assert.equal("42\n42\n", answers("answer\nplumb.answer\n"))
    assert.equal("mine\n", answers("shared = 'mine'\nshared\n"))
    assert.equal("nil\nnil\n", answers("unknown\nrawget(_G, 'answer')\n"))
    assert.equal("early\n", answers("shared\n", "-e", "shared = 'early'"))
    local strict = "setmetatable(_G, { __index = function(_, name) error('undefined ' .. name, 2) end })"
    local result = prompt("answer\nunknown\n", "-e", strict)
    assert.truthy(result.out:find("> 42\n", 1, true))
    assert.truthy(result.err:find("undefined unknown", 1, true))
    assert.equal("42\nold\n", answers("answer\nfallback\n", "-e", "setmetatable(_G, { __index = { fallback = 'old' } })"))
  end)

  it("is plain Lua, after one warning, when the library can't be loaded", function()
    for _, broken in ipairs({ "function() error('broken') end", "function() error() end", "function() return true end" }) do
      local result = plumb({ "-i", "-e", "package.preload.plumb = " .. broken }, { input = "1 + 1\n" })
      assert.truthy(result.out:find("> 2\n", 1, true))
      assert.truthy(result.err:find("^plumb's library is missing[^\n]*\n$"), result.err)
    end
  end)

  it("opens after a script, and not after one that fails", function()
    local script = new_folder() .. "/script.lua"
    write_file(script, "kept = 'kept ' .. ...")
    assert.truthy(plumb({ "-i", script, "argument" }, { input = "kept\n" }).out:find("> kept argument\n", 1, true))
    write_file(script, "error('stop')")
    local result = plumb({ "-i", script }, { input = "print('unreached')\n" })
    assert.equal(1, result.code)
    assert.falsy(result.out:find("unreached", 1, true))
  end)
end)

describe("the prompt on a terminal", function()
  it("edits lines, prints values, and leaves at Ctrl-D", function()
    local terminal = open_terminal()
    terminal:type("6 * 8\b7\r")
    terminal:expect("42\r\n")
    terminal:type("for i = 1, 2 do\r")
    terminal:expect(">> ")
    terminal:type("print('turn ' .. i) end\r")
    terminal:expect("turn 1\r\nturn 2\r\n")
    terminal:type("error('oh')\r")
    terminal:expect("stack traceback")
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
    assert.equal("plumb 0.1.0  (Lua 5.4)\r\n", terminal.screen:match("plumb [^\n]*\n"))
  end)

  it("runs a pasted block whole", function()
    local terminal = open_terminal()
    local lines = { "local sum = 0", "for i = 1, 40 do" }
    for i = 3, 39 do
      lines[i] = "\tsum = sum + i"
    end
    lines[40] = "end print('sum is ' .. sum)"
    terminal:type(PASTE_START .. table.concat(lines, "\r") .. PASTE_END .. "\r")
    terminal:expect("sum is 30340\r\n")
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
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
    terminal:type("'still ' .. 'here'\r")
    terminal:expect("still here\r\n")
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
    assert.falsy(terminal.screen:find("stdin:1", 1, true))
  end)

  it("interrupts a running statement at Ctrl-C, again and again", function()
    local terminal = open_terminal()
    for _ = 1, 3 do
      terminal:type("io.write('bu' .. 'sy') io.flush() while true do end\r")
      terminal:expect("busy")
      terminal:type(CTRL_C)
      terminal:expect("interrupted!")
      terminal:expect("> ")
    end
    terminal:type("print('bu' .. 'sy') string.find(('a'):rep(23), ('a?'):rep(23) .. 'b')\r")
    terminal:expect("busy")
    terminal:type(CTRL_C)
    os.execute("sleep 0.1")
    terminal:type(CTRL_C) -- a second one, while C code has not yet come back, does not end the program
    terminal:expect("still busy")
    terminal:expect("interrupted!")
    terminal:type("'still ' .. 'here'\r")
    terminal:expect("still here\r\n")
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
  end)

  it("keeps history across sessions in a private file, each statement one entry", function()
    local terminal = open_terminal()
    terminal:type("for i = 1, 1 do\rprint('lo' .. 'op') end\r")
    terminal:expect("loop\r\n")
    terminal:type(CTRL_D)
    terminal:finish()
    local file = terminal.state .. "/plumb/history"
    assert.equal("600 700", capture(("stat -c %%a %s %s/plumb | xargs"):format(file, terminal.state)))
    local second = open_terminal({ state = terminal.state })
    second:type(UP .. "\r")
    second:expect("loop\r\n")
    second:type(CTRL_D)
    assert.equal(0, second:finish())
  end)

  it("does without history where none can be written", function()
    local terminal = open_terminal({ state = "/proc" })
    terminal:type("1 + 1\r")
    terminal:expect("2\r\n")
    terminal:type(CTRL_D)
    assert.equal(0, terminal:finish())
    assert.falsy(terminal.screen:lower():find("histor", 1, true))
  end)
end)
