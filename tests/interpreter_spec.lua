-- The interpreter as a user meets it on the command line: real processes, compared with Debian's lua5.4.
local programs = require "programs"
local capture, quote, new_folder = programs.capture, programs.quote, programs.new_folder
local write_file, run, plumb = programs.write_file, programs.run, programs.plumb
local ROOT, PLUMB = programs.ROOT, programs.PLUMB
local LUA = "lua5.4"

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

teardown(programs.remove_folders)

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

  it("catches errors, runs coroutines and matches patterns as lua does", function()
    local cases = {
      "print(pcall(error, 'x'), pcall(), select('#', pcall(table.unpack, {}, 1, 3)))", "pcall()", "xpcall()", "xpcall(print)",
      "print(pcall(pcall, error, 'e')) print(xpcall(error, function(m) return m .. '!' end, 'e'))",
      "print(xpcall(function(...) return ... end, print, 1, nil, 3))", "xpcall(error, function() error('again') end)",
      "print(xpcall(function() local x = nil + 1 end, debug.traceback))", "print(pcall(string.rep, 'x', -1, {}))",
      "local f = coroutine.wrap(function(...) print(...) print(coroutine.yield(1, 2)) error('inside') end) print(f(3)) print(f(4))",
      "local f = coroutine.wrap(function() return 1 end) f() print(pcall(f))", "coroutine.wrap()", "coroutine.resume(1)",
      "local c = coroutine.create(function(a) print(pcall(function() error(coroutine.yield(a)) end)) end) "
        .. "print(coroutine.resume(c, 1)) print(coroutine.resume(c, 2)) "
        .. "print(coroutine.resume(c), coroutine.status(c), coroutine.close(c))",
      "local c = coroutine.create(function() local t <close> = setmetatable({}, { __close = function() print('closed') "
        .. "error('late') end }) coroutine.yield() end) coroutine.resume(c) print(coroutine.close(c))", "print(pcall(coroutine.close, 1))",
      "print(coroutine.running()  ~= nil, coroutine.isyieldable(), coroutine.wrap(coroutine.isyieldable)())",
      "print(load(function() error('reader') end)) print(load('x = = 1')) print(load(function() return nil end) ~= nil)",
      "print(('key = value'):match('^(%w+)%s*=%s*(%w+)$'), ('abc'):find('b', 1, true), ('x'):rep(9):gsub('x', { x = 'y' }, 3))",
      "local s = ('k1=v1, k2=v2; '):rep(2000) local n = 0 "
        .. "for k, v in s:gmatch('(%w+)%s*=%s*(%w+)%s*[,;]%s*') do n = n + #k + #v end print(n)",
      "print((('a.b-c'):rep(3000):gsub('^(.-)%.(.-)%-', '%2%1', 1)):sub(1, 9))", "print(('^x^x'):rep(5000):gmatch('^(x)%s*%s*')())",
      "local s = ('ab'):rep(5000) print(s:find('(a)(b)()%1%2', 3), s:match('.-(b.*)$'):len(), s:find('%f[%w]%w+%f[%W]', 1))",
      "print(pcall(string.match, ('a'):rep(10000), 'a-b-[')) print(pcall(string.gsub, ('a'):rep(10000), 'a-b-', '%9'))",
      "print(pcall(string.find, ('a'):rep(10000), '%')) print(pcall(string.find, 'x', {})) print(pcall(string.gmatch, 5))",
      "print((12345):rep(2), string.find(12345, 3), string.match(12, '%d+%d-%d*'), ('x'):find('', 10), ('x'):find(''))",
      "print(('\\0\\255'):rep(2000):find('[^%z\\255]*%z*$', 1) , (('\\0a'):rep(3000):gsub('%z+a*', '')):len())",
    }
    for _, code in ipairs(cases) do same({ "-e", code }) end
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
