-- Ctrl-C in programs: whatever runs ends with the error "interrupted!", and what it was doing has been undone or finished.
local programs = require "programs"
local quote = programs.quote

teardown(programs.remove_folders)

--- Runs `code`, which prints "go" when it is about to do something that takes for ever, and presses Ctrl-C then.
local function interrupt(program, code)
  local out, err = os.tmpname(), os.tmpname()
  local command = ([[(ulimit -t 100; exec %s -e %s >%s 2>%s) & child=$!
    for i in $(seq 3000); do test -s %s && break; sleep 0.01; done
    kill -INT $child; wait $child]]):format(quote(program), quote("io.stdout:setvbuf('no') " .. code), out, err, out)
  local _, _, status = os.execute(command)
  local result = { code = status, out = programs.read_file(out), err = programs.read_file(err):gsub(program:gsub("%p", "%%%0"), "PROGRAM") }
  os.remove(out)
  os.remove(err)
  return result
end

local function stops(code)
  local result = interrupt(programs.PLUMB, code .. " print('survived')")
  assert.truthy(result.err:find("interrupted!", 1, true), code .. "\n" .. result.err)
  assert.equal(1, result.code, code)
  assert.falsy(result.out:find("survived", 1, true), code)
  return result
end

local function fails(f, message)
  local ok, found = pcall(f)
  assert.is_false(ok)
  assert.truthy(found:find(message, 1, true), found)
end

local function call_twice(f) return f(), (f()) end

describe("Ctrl-C", function()
  it("is reported as lua reports it", function()
    local code = "print('go') for _ = 1, 1e12 do end"
    local function report(program)
      local result = interrupt(program, code)
      -- the signal may come while print is still at work
      result.err = result.err:gsub("%(command line%):1: interrupted", "interrupted"):gsub("\n%s*%[C%]: in function 'print'", "")
      return result
    end
    assert.same(report("lua5.4"), report(programs.PLUMB))
  end)

  it("stops loops that catch errors, and coroutines", function()
    for _, code in ipairs {
      "print('go') while true do pcall(function() while true do end end) end",
      "print('go') while true do xpcall(function() while true do end end, function() return {} end) end",
      "print('go') xpcall(error, function() while true do end end)",
      "print('go') xpcall(function() while true do end end, function() while true do end end)",
      "print('go') while true do pcall(pcall, function() while true do end end) end",
      "local f = coroutine.wrap(function() while true do end end) print('go') while true do pcall(f) end",
      "print('go') while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
      "local c = coroutine.wrap(function() while true do coroutine.yield() end end) print('go') while true do c() end",
      "local c = coroutine.wrap(function() pcall(function() while true do coroutine.yield() end end) end) print('go') "
        .. "while true do c() end",
      "print('go') while true do load(function() while true do end end) end",
      "local function f() while true do end end local t = setmetatable({}, { __index = function(_, k) pcall(f) return k end }) "
        .. "print('go') while true do local _ = t.x end",
      "local c = coroutine.create(function() local t <close> = setmetatable({}, { __close = function() while true do end end }) "
        .. "coroutine.yield() end) coroutine.resume(c) print('go') coroutine.close(c)",
    } do stops(code) end
  end)

  it("stops the sorting of long lists", function()
    stops("local t = {} for i = 1, 3e5 do t[i] = math.sin(i) end print('go') while true do table.sort(t) t[1], t[#t] = t[#t], t[1] end")
    stops("local t = {} for i = 1, 3e6 do t[i] = tostring(i * 7919 % 3000017) end print('go') table.sort(t)")
    local t = {}
    for i = 1, 250000 do t[i] = i * 7919 % 250007 end
    table.sort(t)
    for i = 2, #t do assert(t[i - 1] < t[i]) end
    t[7] = "x"
    assert.is_false((pcall(table.sort, t)))
  end)

  it("stops large calls of Lua's own library", function()
    stops("local text = ('x = 1 '):rep(2e7) print('go') load(text)")
    stops("print('go') for _ = 1, 1e6 do local _ = ('xy'):rep(1e8, ' ') end")
    stops("local t = {} for i = 1, 1e7 do t[i] = i end print('go') table.concat(t, ' ')")
    stops("local file = io.open('/dev/zero') print('go') file:read('a')")
    stops("local file = io.open('/dev/zero') print('go') file:read(1e12 // 1)")
    stops("local file = io.open('/dev/zero') print('go') file:read()") -- a line without an end
    stops("io.input('/dev/zero') print('go') io.read('L')")
    stops("io.input('/dev/zero') print('go') io.read('a')")
    stops("print('go') for _ in io.lines('/dev/zero') do end")
    stops("local file = io.open('/dev/zero') print('go') for _ in file:lines('L') do end")
    stops("local file = io.open('/dev/zero') print('go') file:read(1, 'l')")
    stops("print('go') for _ in io.lines('/dev/zero', 0, 'l') do end")
    stops("local s = ('x'):rep(3e8 // 1) print('go') while true do utf8.len(s) end")
    stops("local s = ('x'):rep(3e8 // 1) print('go') while true do utf8.offset(s, #s) end")
    local texts = "local t, s = {}, ('x'):rep(1 << 24) for i = 1, 1e5 do t[i] = s end local pipe = io.popen('cat >/dev/null', 'w') "
    stops(texts .. "print('go') pipe:write(table.unpack(t))")
    stops("local s = ('x'):rep(1e8 // 1) print('go') while true do print(s) end")
    stops(texts .. "io.output(pipe) print('go') io.write(table.unpack(t))")
  end)

  it("stops the collection of much memory, which is done in steps", function()
    stops("local t = {} for i = 1, 5e6 do t[i] = { i } end print('go') while true do collectgarbage() end")
    stops("print('go') local t = {} while true do t[#t + 1] = {} end")
  end)

  it("waits for computations of finalizers", function()
    local result = interrupt(programs.PLUMB, [[local plumb = require "plumb"
      do local o = setmetatable({}, { __gc = function()
        print("go")
        local p = plumb.randperm(3e7 // 1)
        print("done", #p)
      end }) end
      collectgarbage()
      while true do end]])
    assert.equal("go\ndone\t30000000\n", result.out)
    assert.truthy(result.err:find("interrupted!", 1, true), result.err)
    assert.falsy(result.err:find("__gc", 1, true), result.err)
  end)

  it("leaves full collections as they are in Lua's manual", function()
    local result = programs.plumb { "-e", [[
      local t = {} for i = 1, 5e6 do t[i] = { i } end
      local weak, closed = setmetatable({ {}, t[1] }, { __mode = "v" }), false
      do local o = setmetatable({}, { __gc = function() closed = true end }) end
      print(collectgarbage(), weak[1], weak[2] == t[1], closed)
      local before = collectgarbage("count")
      t = nil
      print(collectgarbage("collect"), weak[2], collectgarbage("count") < before / 10)
      print(collectgarbage("generational"), collectgarbage())]] }
    assert.equal("0\tnil\ttrue\ttrue\n0\tnil\ttrue\nincremental\t0\n", result.out)
  end)

  it("waits for the end of finalizers, in which an error would be lost", function()
    stops([[do local o = setmetatable({}, { __gc = function()
      print('go')
      local started = os.clock()
      while os.clock() - started < 0.5 do local _ = ('x'):rep(1 << 22) end
    end }) end
    collectgarbage()
    for _ = 1, 1e9 do end]])
  end)

  it("leaves what they do as it is in Lua's manual", function()
    for _, case in ipairs { { "x", 3000000, "" }, { "abc", 1000001, "--" }, { "", 700000, "ab" }, { ("q"):rep(3000000), 3, "\0" } } do
      local text, n, separator = table.unpack(case)
      local once = text .. separator
      local made = text:rep(n, separator)
      assert.equal(#once * n - #separator, #made)
      local at = #once * (n // 2)
      assert(made:sub(at + 1, at + #once) == once and made:sub(1, #once) == once and made:sub(-#text) == text or text == "")
      assert(made:sub(-#separator) == separator or text ~= "")
    end
    assert.equal("abxabxab", ("ab"):rep(3, "x"))
    assert.equal("", ("x"):rep(-1e9 // 1))
    assert.has_error(function() return ("xy"):rep(math.maxinteger) end, "resulting string too large")
    local t = {}
    for i = 1, 150000 do t[i] = i % 2 == 0 and i or tostring(i) end
    local all = table.concat(t, ";")
    local i = 0
    for number in all:gmatch("[^;]+") do
      i = i + 1
      assert(number == tostring(i))
    end
    assert.equal(150000, i)
    t[140000] = {}
    local short = { 1, {} }
    local _, expected = pcall(table.concat, short) -- of the standard function
    local _, found = pcall(table.concat, t, ";")
    assert.equal((expected:gsub("2", "140000")), found)
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w+"))
    file:write(("0123456789"):rep(250000))
    file:seek("set", 5)
    assert.equal(("5678901234"):rep(200000), file:read(2000000))
    assert.equal(("5678901234"):rep(49999) .. "56789", file:read("a"))
    assert.same({ "", nil, nil }, { file:read("a"), file:read(2000000), (file:read(1)) })
    assert.same({ nil, "Is a directory", 21 }, { assert(io.open("/")):read("a") })
    file:seek("set", 0)
    assert.same({ "0123456789", 1 }, { file:read(10), #file:read(1, 2000000) })
    assert.equal(2499989 - 2000000, #file:read("*a"))
    os.remove(path)
    assert.has_error(function() return io.stdout.read("a") end, "bad argument #1 to 'read' (FILE* expected, got string)")
    local program = "local a, b = ... ; return " .. ("a + "):rep(500000) .. "b"
    assert.equal(500001, assert(load(program))(1, 1))
    assert.equal(nil, load(program, "name", "b"))
    local f = assert(load(("x = 1 "):rep(300000), nil, nil, t))
    f()
    assert.equal(1, t.x)
    assert.truthy(select(2, load(("x = 1 "):rep(300000) .. "=")):find("[string \"x = 1", 1, true))
    assert.equal(7, load(string.dump(load("local t = '" .. ("x"):rep(2000000) .. "' return 7")))())
  end)

  it("leaves reading as it is in Lua's manual", function()
    local path = programs.new_folder() .. "/text"
    for _, lines in ipairs {
      { "" }, { "last" }, { "first", "" }, { "", "", "x" }, { "a\0b\r", "c" },
      { ("x"):rep(1023), ("y"):rep(1024), ("z"):rep(1025), ("w"):rep(2048), "" }, { ("x"):rep(3000000), ("y"):rep(2000000) },
    } do
      programs.write_file(path, table.concat(lines, "\n"))
      if lines[#lines] == "" then lines[#lines] = nil end
      local function ended(i) return i < #lines or programs.read_file(path):sub(-1) == "\n" end
      local file, kept = assert(io.open(path)), assert(io.open(path))
      for _, read in ipairs {
        function() return file:read() end, function() return kept:read("l") end, io.lines(path), io.lines(path, "*l"),
      } do
        for i = 1, #lines do assert(read() == lines[i]) end
        assert.is_nil(read())
      end
      file:seek("set", 0)
      kept:seek("set", 0)
      for _, read in ipairs { function() return file:read("*L") end, kept:lines("L"), io.lines(path, "L") } do
        for i = 1, #lines do assert(read() == lines[i] .. (ended(i) and "\n" or "")) end
        assert.is_nil(read())
      end
      assert.equal("file", io.type(kept)) -- file:lines leaves it open
      file:close()
      kept:close()
    end
    programs.write_file(path, "12 34\n56\n")
    assert.same({ "12 34\n56\n", "" }, { call_twice(io.lines(path, "a")) })
    assert.same({ "12 34\n56\n" }, { call_twice(io.lines(path, 2000000)) })
    assert.same({ "12 ", "34\n" }, { call_twice(io.lines(path, 3)) })
    assert.same({ { 12, " 34" }, { 56, "" } }, (function()
      local all = {}
      for number, rest in io.lines(path, "n", "l") do all[#all + 1] = { number, rest } end
      return all
    end)())
    local function read_once(...)
      local file <close> = assert(io.open(path))
      return table.pack(file:read(...))
    end
    assert.same({ 12, " 34", "56\n", "", n = 4 }, read_once("n", "l", "L", "a"))
    assert.same({ "12 34", "56", nil, n = 3 }, read_once("l", "l", "l", "a")) -- nothing after the end
    assert.same({ "12 34", 56, nil, n = 3 }, read_once("l", "n", "n", "l"))
    assert.same({ "12 34", "56\n", "", "", nil, n = 5 }, read_once("l", "L", "a", "a", "l", "l"))
    assert.same({ "12", " 34\n56\n", nil, n = 3 }, read_once(2, 2000000, "L"))
    fails(function() return read_once("l", "x") end, "bad argument #2 to 'read' (invalid format)")
    local next_line, state, control, opened = io.lines(path)
    assert.same({ "12 34", "56", nil, nil }, { next_line(), next_line(), state, control })
    assert.equal("file", io.type(opened))
    assert.is_nil(next_line())
    assert.equal("closed file", io.type(opened))
    fails(next_line, "file is already closed")
    fails(function() return io.lines("/no/such/file") end, "cannot open file '/no/such/file' (No such file or directory)")
    fails(function() return opened:lines() end, "attempt to use a closed file")
    fails(function() return opened:read() end, "attempt to use a closed file")
    fails(io.lines("/"), "Is a directory")
    fails(io.lines(path, "x"), "invalid format")
    fails(function() return io.stdout:read({}) end, "bad argument #1 to 'read' (string expected, got table)")
    local unreadable <close> = assert(io.open(path, "a"))
    assert.same({ nil, "Bad file descriptor", 9 }, { unreadable:read() })
    assert.same({ nil, "Bad file descriptor", 9 }, { unreadable:read("a") })
  end)

  it("leaves reading of the default file as it is in Lua's manual", function()
    local path = programs.new_folder() .. "/text"
    local text = "1\n" .. ("x"):rep(2000000)
    programs.write_file(path, text)
    local file = assert(io.open(path))
    local _ <close> = setmetatable({}, { __close = function() io.input(io.stdin) end })
    io.input(file)
    assert.equal("1", (io.read()))
    assert.same({ 2000000, nil }, { #io.read("L"), (io.read()) })
    assert.equal("", (io.read("a")))
    file:seek("set", 0)
    assert.same({ 1, "" }, { io.read("n", "l") })
    assert(io.read(2000000) == text:sub(3))
    file:seek("set", 0)
    local count = 0
    for line in io.lines() do count = count + #line end
    assert.equal(2000001, count)
    assert.equal("file", io.type(file))
    file:close()
    fails(function() return io.read() end, "default input file is closed")
    fails(function() return io.read("a") end, "default input file is closed")
    fails(io.lines, "closed file")
  end)

  it("leaves writing as it is in Lua's manual", function()
    local path = programs.new_folder() .. "/text"
    local long, longer = ("abc"):rep(1000000), ("\0\n"):rep(3000001)
    local output = assert(io.open(path, "w"))
    local _ <close> = setmetatable({}, { __close = function() io.output(io.stdout) end })
    for _, write in ipairs { function(...) return output:write(...) end, io.write } do
      output = io.output(path) and io.output()
      assert.equal(output, write(long))
      assert.equal(output, write("a", long, 12, longer, 1.5, "z"))
      assert.same({ output }, { write() })
      fails(function() write("b", long, {}, long) end, "bad argument #3 to 'write' (string expected, got table)")
      output:close()
      assert(programs.read_file(path) == long .. "a" .. long .. "12" .. longer .. "1.5z" .. "b" .. long)
      io.output("/dev/full")
      output = io.output()
      assert.same({ nil, "No space left on device", 28 }, { write(long) })
      output:setvbuf("no")
      assert.same({ nil, "No space left on device", 28 }, { write("a", long) })
      assert.same({ nil, "No space left on device", 28 }, { write(long, "a") })
      output:close()
    end
    fails(function() return output:write(long) end, "attempt to use a closed file")
    fails(function() return io.write(long) end, "default output file is closed")
    local unwritable <close> = assert(io.open(path))
    assert.same({ nil, "Bad file descriptor", 9 }, { unwritable:write(long) })
    assert.same({ nil, "Bad file descriptor", 9 }, { unwritable:write("a", long, 1) })
    fails(function() return io.stdout.write(long) end, "FILE* expected, got string")
  end)

  it("leaves print as it is in Lua's manual", function()
    local code = "local t = setmetatable({}, { __tostring = function() return 'object' end }) "
      .. "print(1, ('ab'):rep(1e5 // 1), nil, t) print()"
    local text = "1\t" .. ("ab"):rep(100000) .. "\tnil\tobject\n\n"
    assert.equal(text, programs.plumb({ "-e", code }).out)
  end)

  it("leaves utf8.offset as it is in Lua's manual", function()
    local text = ("aä€"):rep(1500000) -- 1, 2 and 3 bytes
    for _, n in ipairs { 1, 2, 3, 1048576, 1048577, 1048578, 2097153, 3000001, 4500000, 4500001, 4500002, 9000000 } do
      local place = n <= 4500001 and (n - 1) // 3 * 6 + ({ [0] = 1, 2, 4 })[(n - 1) % 3] or nil
      assert.equal(place, utf8.offset(text, n))
      if n > 1 and place and n <= 4500000 then
        assert.equal(place, utf8.offset(text, n - 4500001))
        assert.equal(1, utf8.offset(text, 1 - n, place))
        assert.equal(place, utf8.offset(text, n - 1, 2))
      end
    end
    assert.equal(nil, utf8.offset(text, -4500001))
    assert.equal(1, utf8.offset(text, -4500000))
    assert.has_error(function() utf8.offset(text, 3000000, 5) end, "initial position is a continuation byte")
    assert.has_error(function() utf8.offset(text, 3000000, #text + 2) end, "bad argument #3 to 'offset' (position out of bounds)")
  end)

  it("leaves utf8.len as it is in Lua's manual", function()
    local after = ("y"):rep(1 << 20)
    -- what stands where a long text is cut, and the same behind less, which is not
    for shift = -8, 3 do
      local many = (1 << 20) + shift
      local before = ("x"):rep(many)
      for _, middle in ipairs { "", "é€😀", "ab\x80c", "é\x80", "\xE2\x82z", "\xF0\x9F\x98", "\xED\xA0\x80", "\xC0\x80",
        "\xFD\xBF\xBF\xBF\xBF\xBF", "\xFD\xBF\xBF\xBF\xBF\xBF\xBF", ("\x80"):rep(20), "é" .. ("\x80"):rep(20) } do
        for _, lax in ipairs { false, true } do
          local long, short = before .. middle .. after, middle .. "y"
          local count, wrong = utf8.len(short, 1, -1, lax)
          local expected = count and { many + count - 1 + #after } or { nil, many + wrong }
          assert.same(expected, { utf8.len(long, 1, -1, lax) })
          for last = 0, #short do
            count, wrong = utf8.len(short, 1, last, lax)
            expected = count and { many - 1 + count } or { nil, many + wrong }
            assert.same(expected, { utf8.len(long, 2, many + last, lax) })
          end
        end
      end
    end
    local text = ("aé€😀"):rep(300000)
    assert.equal(1200000, utf8.len(text))
    assert.equal(1200000, utf8.len(text, -#text))
    assert.equal(1199999, utf8.len(text, 2, -2))
    assert.equal(1199998, utf8.len(text, 2, -5))
    assert.same({ nil, 3 }, { utf8.len(text, 3) })
    assert.same({ 0, 0, 1 }, { utf8.len(text, #text + 1), utf8.len(text, 5, 4), utf8.len(text, -4) })
    fails(function() return utf8.len(text, #text + 2) end, "bad argument #2 to 'len' (initial position out of bounds)")
    fails(function() return utf8.len(text, 0) end, "bad argument #2 to 'len' (initial position out of bounds)")
    fails(function() return utf8.len(text, 1, #text + 1) end, "bad argument #3 to 'len' (final position out of bounds)")
    fails(function() return utf8.len(text, math.mininteger) end, "bad argument #2 to 'len' (initial position out of bounds)")
    fails(function() return utf8.len(text, {}) end, "bad argument #2 to 'len' (number expected, got table)")
    assert.equal(0, utf8.len(text, 1, math.mininteger))
    assert.equal(5, utf8.len(12345))
  end)

  it("stops matches that would take years", function()
    local subject, pattern = "('a'):rep(60)", "('a?'):rep(60) .. ('a'):rep(60)"
    for _, code in ipairs {
      ("print('go') string.find(%s, %s)"):format(subject, pattern), ("print('go') string.match(%s, %s)"):format(subject, pattern),
      ("print('go') string.gsub(%s, %s, '')"):format(subject, pattern),
      ("print('go') for _ in string.gmatch(%s, %s) do end"):format(subject, pattern),
      ("print('go') while true do pcall(string.find, %s, %s) end"):format(subject, pattern),
      ("print('go') string.gsub('x', '.', function() return string.find(%s, %s) end)"):format(subject, pattern),
      "local s = ('a'):rep(3e6) print('go') s:find('.-.-b')", "local s = ('('):rep(3e6) print('go') s:find('%b()')",
    } do stops(code) end
  end)

  it("stops long computations of tensors", function()
    for _, code in ipairs {
      "local a = plumb.randn(4000, 4000) a:evaluate() print('go') while true do a:matmul(a):evaluate() end",
      "print('go') while true do pcall(function() plumb.randn(3000, 3000):exp():sum():item() end) end",
      "local a = plumb.ones(3e7):evaluate() print('go') while true do a:tolist() end",
      "print('go') while true do plumb.tensor(plumb.ones(1000, 1000):tolist()) end",
      "local g = plumb.grad(function(x) return (x:matmul(x)):sum() end) local x = plumb.randn(1500, 1500) print('go') "
        .. "while true do g(x) end",
      "print('go') while true do pcall(plumb.randperm, 30000000) end",
      "local x = plumb.zeros(3e7, 1) local set = { x = x, y = plumb.zeros(3e7) } "
        .. "local loader = plumb.data.loader(set, { batch = 10, shuffle = true }) print('go') while true do loader:epoch(1) end",
    } do stops("local plumb = require 'plumb' " .. code) end
  end)

  it("gives the memory of an order back that it stops", function()
    local result = stops [[
      local plumb = require "plumb"
      local t <close> = setmetatable({}, { __close = function() collectgarbage() print(plumb.memory().live < 1e6) end })
      print("go")
      while true do plumb.randperm(30000000) end]]
    assert.equal("go\ntrue\n", result.out)
  end)

  it("leaves a large decomposition behind, which goes on beside the next one", function()
    local before = "local plumb = require 'plumb' local a = plumb.randn(2500, 2500):double():evaluate() "
    for _, name in ipairs { "svdvals", "inv", "qr" } do
      stops(before .. ("print('go') while true do plumb.linalg.%s(a):evaluate() end"):format(name))
    end
    local result = interrupt(programs.PLUMB, before .. [[
      print('go')
      local ok, message = xpcall(function() return plumb.linalg.svdvals(a):evaluate() end, function(m)
        local b = plumb.randn(500, 500, { seed = 1 }):double() -- large enough to go beside as well
        local x = plumb.linalg.solve(b, b):evaluate()
        print(tostring(m):match('interrupted') or m, (x - plumb.eye(500):double()):abs():max():item() < 1e-8)
      end)]])
    assert.truthy(result.out:find("go", 1, true))
    assert.truthy((result.out .. result.err):find("interrupted", 1, true), result.out .. result.err)
  end)

  it("stops other programs that are waited for", function()
    stops("local run = require('plumb.core').process.run print('go') while true do run { 'sleep', '1000' } end")
    stops("local plot = require 'plumb'.plot print('go') while true do plot.lines({ 1, 2, 3 }):save('/dev/null/x.png') end")
  end)

  it("stops a program that is just being started", function()
    local folder = programs.new_folder()
    -- Where PATH is long, it takes long to look a program up in it, and signals wait until it is found.
    programs.write_file(folder .. "/plumb", ("#!/bin/sh\nPATH=%s$PATH exec %s \"$@\"\n"):format(("/:"):rep(60000), quote(programs.PLUMB)))
    assert(os.execute("chmod +x " .. quote(folder .. "/plumb")))
    local result = interrupt(folder .. "/plumb", ([[local run = require('plumb.core').process.run print('go')
      run { 'sh', '-c', 'sleep 3; echo over >%s/over' } print('survived')]]):format(folder))
    assert.equal("go\n", result.out)
    assert.truthy(result.err:find("interrupted!", 1, true), result.err)
    assert.equal("", programs.read_file(folder .. "/over"))
  end)

  it("lets closing values run to their end", function()
    local result = stops("local t <close> = setmetatable({}, { __close = function() local n = 0 for _ = 1, 1e5 do n = n + 1 end "
      .. "print(pcall(error, 'own', 0)) print('closed', n) end }) print('go') while true do end")
    assert.equal("go\nfalse\town\nclosed\t100000\n", result.out)
  end)

  it("leaves parameters and optimiser as they were before or after the step that it stops", function()
    local result = stops [[
      local plumb = require "plumb"
      local x = plumb.randn(3000, 3000)
      local v = plumb.variable(plumb.ones(3000, 3000))
      local step = plumb.compile(function(v, x) return v + (x:matmul(x):matmul(x) * 0 + 1) * 2 end)
      local t <close> = setmetatable({}, { __close = function()
        local value = v:get()
        local low, high = value:min():item(), value:max():item()
        print(low == high, (low - 1) % 2 == 0)
      end })
      print("go")
      while true do step(v, x) end]]
    assert.equal("go\ntrue\ttrue\n", result.out)
  end)
end)

describe("process.attempt", function()
  -- Code that counts as the library's: its interrupts wait until control is back in the user's.
  local LIBRARY = [[
    local process = require("plumb.core").process
    local library = assert(load([=[
      local process, on_step = ...
      local function loop()
        local n = 0
        while not process.interrupted() do n = n + 1 if on_step then on_step() end end
        return n
      end
      return function()
        local ok, result = process.attempt(loop)
        return { ok = ok, result = result, interrupted = process.interrupted() }
      end]=], "@/lua/plumb/pretended.lua"))
  ]]

  it("returns to the user's statement, which stores its value, and is interrupted then", function()
    local result = stops(LIBRARY .. [[
      local fit = library(process)
      local t <close> = setmetatable({}, { __close = function() print(run.ok, math.type(run.result), run.interrupted, again) end })
      print "go"
      run = fit(
        1,
        2
      )
      again = fit()]])
    assert.equal("go\ntrue\tinteger\ttrue\tnil\n", result.out)
  end)

  it("ends the user's functions that are called within it", function()
    local result = stops(LIBRARY .. [[
      local fit = library(process, function() print "go" while true do pcall(function() while true do end end) end end)
      local t <close> = setmetatable({}, { __close = function() print(run.ok, run.result, run.interrupted) end })
      run = fit()]])
    assert.truthy(result.out:find("^go\nfalse\t.*interrupted!\ttrue\n$"), result.out)
  end)

  it("stops a loop of calls", function()
    local result = stops(LIBRARY .. [[
      local fit = library(process) local count = 0
      local t <close> = setmetatable({}, { __close = function() print(count) end })
      print "go"
      for i = 1, 10 do fit() count = i end]])
    assert.equal("go\n1\n", result.out)
  end)

  it("is pcall for everything else", function()
    local attempt = require("plumb.core").process.attempt
    assert.same({ true, 1, nil, 3, n = 4 }, table.pack(attempt(function(...) return ... end, 1, nil, 3)))
    assert.same({ false, "x" }, { attempt(error, "x") })
    assert.is_false((attempt(nil)))
    assert.is_false((pcall(attempt)))
    local c = coroutine.wrap(function() return attempt(function() return coroutine.yield(1) + 1 end) end)
    assert.equal(1, c())
    assert.same({ true, 6 }, { c(5) })
    assert.is_false(require("plumb.core").process.interrupted())
  end)
end)
