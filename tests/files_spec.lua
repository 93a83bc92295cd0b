-- Tensors and results in files: plumb.files (safetensors, npy, JSON) and the C functions below it.
local plumb = require "plumb"
local core = require "plumb.core"
local lfs = require "lfs"
local files = require "plumb.files"

local folder

local function path_of(name) return folder .. "/" .. name end

local function read(name)
  local file <close> = assert(io.open(path_of(name), "rb"))
  return file:read("a")
end

local function write(name, text)
  local file <close> = assert(io.open(path_of(name), "wb"))
  assert(file:write(text))
  return path_of(name)
end

local function listing()
  local names = {}
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function raises(pattern, f, ...)
  local succeeded, message = pcall(f, ...)
  assert.is_false(succeeded, "expected an error like: " .. pattern)
  assert.is_truthy(message:find(pattern), ("expected an error like %q, got %q"):format(pattern, message))
end

-- A Python that can import `module`, nil where there is none.
local function python_with(module)
  for _, python in ipairs { "python3", "/usr/bin/python3" } do
    local result = core.process.run({ python, "-c", "import " .. module }, { timeout = 60 })
    if result and result.code == 0 then return python end
  end
end

local function run_python(python, program)
  local result = assert(core.process.run({ python, "-", folder }, { stdin = program, timeout = 60 }))
  assert.equal(0, result.code, result.stderr)
  return result.stdout
end

local function safetensors_text(header, data)
  return string.pack("<I8", #header) .. header .. data
end

describe("files", function()
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    core.files.make_directory(folder)
  end)

  after_each(function() core.process.run { "rm", "-rf", "--", folder } end)

  describe("bytes and from_bytes", function()
    it("are little-endian and inverse to each other", function()
      local cases = {
        float32 = { "<fff", 1.5, -2, 3e38 }, float64 = { "<ddd", 0.1, -0.0, 1e-300 },
        int64 = { "<i8i8i8", math.mininteger, -1, math.maxinteger }, uint8 = { "<BBB", 0, 7, 255 },
      }
      for dtype, case in pairs(cases) do
        local bytes = string.pack(table.unpack(case))
        local tensor = core.files.from_bytes(bytes, dtype, { 3 })
        assert.equal(dtype, tensor:dtype())
        assert.same({ 3 }, tensor:shape())
        assert.equal(case[3], tensor:tolist()[2])
        assert.equal(bytes, core.files.bytes(tensor))
      end
    end)

    it("walk a transposed or sliced tensor in row-major order", function()
      local tensor = core.files.from_bytes(string.pack("<BBBBBB", 1, 2, 3, 4, 5, 6), "uint8", { 2, 3 })
      assert.equal("\1\4\2\5\3\6", core.files.bytes(tensor:transpose()))
      assert.equal("\2\3\5\6", core.files.bytes(tensor:slice(2, 2, 3)))
    end)

    it("take an empty tensor and a single number", function()
      assert.equal("", core.files.bytes(core.files.from_bytes("", "float64", { 3, 0 })))
      assert.equal(7, core.files.from_bytes("\7", "uint8", {}):item())
    end)

    it("refuse a length, a dtype or a shape that does not fit", function()
      raises("7 bytes do not make a float32 tensor of shape %(2%)", core.files.from_bytes, "1234567", "float32", { 2 })
      raises("8 bytes do not make", core.files.from_bytes, ("x"):rep(8), "float32", { 1 << 62, 1 << 62, 2 })
      raises("expected float32", core.files.from_bytes, "x", "float16", { 1 })
      raises("whole number", core.files.from_bytes, "x", "uint8", { -1 })
      raises("whole number", core.files.from_bytes, "x", "uint8", { 1.5 })
      raises("at most 8 axes", core.files.from_bytes, "x", "uint8", { 1, 1, 1, 1, 1, 1, 1, 1, 1 })
      raises("must be a tensor", core.files.bytes, io.stdout)
    end)
  end)

  describe("write_atomically", function()
    it("replaces a file whole, keeps its access rights and leaves nothing else", function()
      write("config", "old")
      assert.equal(0, core.process.run({ "chmod", "640", path_of("config") }).code)
      core.files.write_atomically(path_of("config"), { "one ", "", "two\0", "three" })
      assert.equal("one two\0three", read("config"))
      assert.equal("rw-r-----", lfs.attributes(path_of("config"), "permissions"))
      assert.same({ "config" }, listing())
    end)

    it("writes through a symbolic link", function()
      write("target", "old")
      assert(lfs.link("target", path_of("link"), true))
      core.files.write_atomically(path_of("link"), { "new" })
      assert.equal("new", read("target"))
      assert.equal("link", lfs.symlinkattributes(path_of("link"), "mode"))
    end)

    it("names the path and the reason, and keeps the old file", function()
      raises("cannot write " .. folder .. "/none/file: No such file", core.files.write_atomically,
        path_of("none/file"), { "x" })
      raises("not a regular file", core.files.write_atomically, folder, { "x" })
      raises("not a regular file", core.files.write_atomically, "/dev/null", { "x" })
      raises("Is a directory", core.files.write_atomically, path_of("new/"), { "x" })
      raises("zero byte", core.files.write_atomically, path_of("a\0b"), { "x" })
      raises("path is empty", core.files.write_atomically, "", { "x" })
      raises("File name too long", core.files.write_atomically, path_of(("x"):rep(300)), { "x" })
      write("kept", "old")
      raises("part 2 of .*kept is a number", core.files.write_atomically, path_of("kept"), { "x", 2 })
      assert.equal("old", read("kept"))
      assert.same({ "kept" }, listing())
    end)

    it("removes what it wrote when the disk is full", function()
      write("kept", "old")
      local interpreter = arg[0]
      for i = -1, -100, -1 do interpreter = arg[i] or interpreter end
      local program = ([[require("plumb.core").files.write_atomically(%q, {("x"):rep(1e5)})]]):format(path_of("kept"))
      local result = assert(core.process.run({ "sh", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" -e \"$1\"",
        interpreter, program }, { timeout = 60 }))
      assert.equal(1, result.code)
      assert.is_truthy(result.stderr:find("kept: File too large", 1, true), result.stderr)
      assert.equal("old", read("kept"))
      assert.same({ "kept" }, listing())
    end)
  end)

  describe("folders", function()
    it("are made with those above them, again without complaint", function()
      for _ = 1, 2 do core.files.make_directory(path_of("a/b//c/")) end
      assert.equal("directory", lfs.attributes(path_of("a/b/c"), "mode"))
      assert.is_true(core.files.is_writable_directory(path_of("a/b")))
    end)

    it("are refused where a file stands", function()
      write("file", "")
      raises("cannot make the folder .*file/below: .*file: Not a directory", core.files.make_directory,
        path_of("file/below"))
      assert.is_false(core.files.is_writable_directory(path_of("file")))
      assert.is_false(core.files.is_writable_directory(path_of("nothing")))
      assert.is_true(core.files.exists(path_of("file")))
      assert.is_false(core.files.exists(path_of("nothing")))
    end)
  end)

  describe("JSON", function()
    it("keeps every digit and sorts keys", function()
      local text = files.json_encode { b = 0.1, a = { 1, 2.0, 1 / 3 }, c = { d = true, ["e\n"] = "\u{e9}\0" } }
      assert.equal([[{"a":[1,2.0,0.3333333333333333],"b":0.1,"c":{"d":true,"e\n":"é\u0000"}}]], text)
      local back = files.json_decode(text)
      assert.equal(1 / 3, back.a[3])
      assert.equal("integer", math.type(back.a[1]))
      assert.equal("float", math.type(back.a[2]))
      for _, x in ipairs { 5e-324, 1.7976931348623157e308, 2 ^ 53 + 2.0, -0.1 - 0.2 } do
        assert.equal(x, files.json_decode(files.json_encode(x)))
      end
    end)

    it("writes what JSON can't hold as null or U+FFFD, and an empty object on request", function()
      assert.equal("[null,null]", files.json_encode { 0 / 0, -math.huge })
      assert.equal("[]", files.json_encode {})
      assert.equal("{}", files.json_encode(files.json_object {}))
      assert.equal("a\u{FFFD}\u{FFFD}b", files.json_decode(files.json_encode("a\xff\xfeb")))
    end)

    it("names the place of what it can't write", function()
      raises("value%.a%.b%[2%]: JSON has no place for a function", files.json_encode, { a = { b = { 1, print } } })
      raises("keys are strings", files.json_encode, { [3] = 1, a = 2 })
      local loop = {}
      loop.inside = loop
      raises("value%.inside: a table that contains itself", files.json_encode, loop)
    end)

    it("refuses text that is not one JSON value", function()
      local texts = { "", "{", '{"a":1} x', "[1,", "os.exit()", '{"a" 1}', "{1:2}", '["a":1]', "nan", "'a'" }
      texts[#texts + 1] = ("["):rep(1000000)
      for _, text in ipairs(texts) do
        raises("not JSON", files.json_decode, text)
      end
    end)
  end)

  describe("safetensors", function()
    local function sample()
      return {
        ["layer.weight"] = plumb.tensor({ { 1.5, -2, 3 }, { 4, 5, 1e-3 } }),
        bias = plumb.tensor({ 0.1, 1 / 3 }, { dtype = "float64" }),
        steps = plumb.tensor({ -1, 1 << 40 }, { dtype = "int64" }),
        ["image \u{e9}\n"] = core.files.from_bytes("\0\127\255", "uint8", { 3, 1 }),
        empty = core.files.from_bytes("", "float32", { 0, 4 }),
        scalar = core.files.from_bytes(string.pack("<f", 2.5), "float32", {}),
      }
    end

    it("gives back every tensor bit by bit, and the metadata", function()
      local path = path_of("model.safetensors")
      files.save(path, sample(), { epoch = "3", note = "a \"quoted\"\n\u{e9}" })
      local tensors, metadata = files.load(path)
      assert.same({ epoch = "3", note = "a \"quoted\"\n\u{e9}" }, metadata)
      local count = 0
      for name, tensor in pairs(sample()) do
        assert.equal(tensor:dtype(), tensors[name]:dtype())
        assert.same(tensor:shape(), tensors[name]:shape())
        assert.equal(core.files.bytes(tensor), core.files.bytes(tensors[name]))
        tensors[name] = nil
        count = count + 1
      end
      assert.equal(6, count)
      assert.is_nil(next(tensors))
    end)

    it("makes equal files from equal tensors, with aligned data", function()
      files.save(path_of("a.safetensors"), sample(), { x = "1", y = "2" })
      files.save(path_of("b.safetensors"), sample(), { y = "2", x = "1" })
      assert.equal(read("a.safetensors"), read("b.safetensors"))
      local length = string.unpack("<I8", read("a.safetensors"))
      assert.equal(0, length % 8)
      local header = files.json_decode(read("a.safetensors"):sub(9, 8 + length))
      for name, width in pairs { bias = 8, steps = 8, ["layer.weight"] = 4, scalar = 4 } do
        assert.equal(0, header[name].data_offsets[1] % width)
      end
    end)

    it("takes no tensors at all", function()
      files.save(path_of("none.safetensors"), {})
      local tensors, metadata = files.load(path_of("none.safetensors"))
      assert.same({}, tensors)
      assert.same({}, metadata)
    end)

    it("is read by a reader written in Python from the format's description", function()
      local python = python_with("json")
      if not python then return pending("no python3 here") end
      files.save(path_of("model.safetensors"), sample(), { epoch = "3" })
      local printed = run_python(python, [==[
import json, struct, sys
raw = open(sys.argv[1] + "/model.safetensors", "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + size].decode("utf-8"))
data = raw[8 + size:]
codes = {"F32": "f", "F64": "d", "I64": "q", "U8": "B"}
print(header.pop("__metadata__"))
for name in sorted(header):
    entry = header[name]
    begin, end = entry["data_offsets"]
    count = (end - begin) // struct.calcsize("<" + codes[entry["dtype"]])
    code = "<%d%s" % (count, codes[entry["dtype"]])
    print(ascii(name), entry["dtype"], entry["shape"], struct.unpack(code, data[begin:end]))
]==])
      assert.equal([[
{'epoch': '3'}
'bias' F64 [2] (0.1, 0.3333333333333333)
'empty' F32 [0, 4] ()
'image \xe9\n' U8 [3, 1] (0, 127, 255)
'layer.weight' F32 [2, 3] (1.5, -2.0, 3.0, 4.0, 5.0, 0.0010000000474974513)
'scalar' F32 [] (2.5,)
'steps' I64 [2] (-1, 1099511627776)
]], printed)
    end)

    it("refuses what is not a tensor, a name or a string", function()
      local path = path_of("no.safetensors")
      raises("'w' is a number, not a tensor", files.save, path, { w = 1 })
      raises("'w': .*must be a tensor", files.save, path, { w = io.stdout })
      raises("name must be UTF%-8", files.save, path, { ["\xff"] = plumb.tensor({ 1 }) })
      raises("name must be UTF%-8", files.save, path, { __metadata__ = plumb.tensor({ 1 }) })
      raises("name must be UTF%-8", files.save, path, { plumb.tensor({ 1 }) })
      raises("metadata holds strings", files.save, path, {}, { epoch = 3 })
      raises("metadata is a table", files.save, path, {}, "epoch")
      raises("table of tensors by name", files.save, path, plumb.tensor({ 1 }))
      raises("must end in .safetensors or .npy", files.save, path_of("model.pt"), {})
      raises("a path is a string", files.save, nil, {})
      assert.same({}, listing())
    end)

    it("says what is wrong with a damaged file, and names it", function()
      local eight = ("x"):rep(8)
      local function entry(dtype, shape, first, last)
        return ('{"dtype":%s,"shape":%s,"data_offsets":[%s,%s]}'):format(dtype, shape, first, last)
      end
      local good = entry('"F32"', "[2]", 0, 8)
      local cases = {
        { "", "holds 0 bytes" },
        { "1234567", "holds 7 bytes" },
        { string.pack("<I8", 100) .. "{}", "header of 100 bytes; 2 follow" },
        { string.pack("<i8", -1) .. "{}", "more than 2%^63" },
        { safetensors_text("[]", ""), "not a JSON object" },
        { safetensors_text("3", ""), "not a JSON object" },
        { safetensors_text("{", ""), "not JSON" },
        { safetensors_text("", ""), "not JSON" },
        { safetensors_text("return os.exit(7)", ""), "not JSON" },
        { safetensors_text("{}", "x"), "describes 0 bytes of data, but the file holds 1" },
        { safetensors_text('{"a":' .. good .. "}", eight .. "x"), "describes 8 bytes of data, but the file holds 9" },
        { safetensors_text('{"a":' .. good .. "}", "1234567"), "'a': its data end at byte 8, outside 0 to 7" },
        { safetensors_text('{"a":3}', ""), "'a': its description is not an object" },
        { safetensors_text('{"a":' .. entry('"F16"', "[4]", 0, 8) .. "}", eight), 'dtype "F16" is not one of' },
        { safetensors_text('{"a":' .. entry("null", "[2]", 0, 8) .. "}", eight), "dtype null is not one of" },
        { safetensors_text('{"a":' .. entry('"F32"', "[-2]", 0, 8) .. "}", eight), "contains %-2" },
        { safetensors_text('{"a":' .. entry('"F32"', "[2.0]", 0, 8) .. "}", eight), "contains 2.0" },
        { safetensors_text('{"a":' .. entry('"F32"', "[null]", 0, 4) .. "}", "1234"), "contains null" },
        { safetensors_text('{"a":' .. entry('"F32"', "{}", 0, 4) .. "}", "1234"), "list of at most 8 sizes" },
        { safetensors_text('{"a":' .. entry('"U8"', "[1,1,1,1,1,1,1,1,1]", 0, 1) .. "}", "x"), "at most 8 sizes" },
        { safetensors_text('{"a":' .. entry('"F32"', "[3]", 0, 8) .. "}", eight), "8 bytes do not make a float32" },
        { safetensors_text('{"a":' .. entry('"F32"', "[4611686018427387904,4]", 0, 0) .. "}", ""), "0 bytes do not" },
        { safetensors_text('{"a":' .. entry('"F32"', "[9223372036854775808]", 0, 8) .. "}", eight), "contains 9.2" },
        { safetensors_text('{"a":' .. entry('"F32"', "[2]", 8, 0) .. "}", eight), "begin at byte 8; expected 0" },
        { safetensors_text('{"a":' .. entry('"U8"', "[2]", 0, -1) .. "}", eight), "data_offsets are not" },
        { safetensors_text('{"a":' .. good .. ',"b":' .. entry('"U8"', "[4]", 4, 8) .. "}", eight),
          "'b': its data begin at byte 4; expected 8" },
        { safetensors_text('{"a":' .. good .. ',"b":' .. entry('"U8"', "[4]", 12, 16) .. "}", eight .. eight),
          "'b': its data begin at byte 12; expected 8" },
        { safetensors_text('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"code":1}}', "x"), "field 'code'" },
        { safetensors_text('{"__metadata__":[]}', ""), "__metadata__ is not an object" },
        { safetensors_text('{"__metadata__":{"a":1}}', ""), "'a' is a number" },
      }
      for _, case in ipairs(cases) do
        raises(case[2], files.load, write("bad.safetensors", case[1]))
        raises("files_spec.lua:%d+: .*bad.safetensors: ", function() files.load(path_of("bad.safetensors")) end)
      end
      local tensors = files.load(write("good.safetensors", safetensors_text('{"a":' .. good .. "}  ", eight)))
      assert.same({ 2 }, tensors.a:shape())
    end)

    it("says why a file can't be read", function()
      raises("cannot read .*none.safetensors: No such file", files.load, path_of("none.safetensors"))
      core.files.make_directory(path_of("folder.safetensors"))
      raises("folder.safetensors", files.load, path_of("folder.safetensors"))
    end)
  end)

  describe("npy", function()
    it("gives back tensors of each dtype and rank", function()
      local tensors = {
        plumb.tensor({ { 1.5, 2 }, { 3, 4 }, { 5, 6 } }), plumb.tensor({ -7 }, { dtype = "int64" }),
        plumb.tensor({ { { 0.1 } } }, { dtype = "float64" }), core.files.from_bytes("\9", "uint8", {}),
        core.files.from_bytes("", "float32", { 0, 3 }),
      }
      for _, tensor in ipairs(tensors) do
        files.save(path_of("a.npy"), tensor)
        local back = files.load(path_of("a.npy"))
        assert.equal(tensor:dtype(), back:dtype())
        assert.same(tensor:shape(), back:shape())
        assert.equal(core.files.bytes(tensor), core.files.bytes(back))
      end
    end)

    it("is what NumPy reads and writes", function()
      local python = python_with("numpy")
      if not python then return pending("no python3 with numpy here") end
      files.save(path_of("matrix.npy"), plumb.tensor({ { 1.5, 2, 3 }, { 4, 5, 6 } }):transpose())
      files.save(path_of("vector.npy"), plumb.tensor({ 1, -2 }, { dtype = "int64" }))
      files.save(path_of("number.npy"), core.files.from_bytes(string.pack("<d", 0.1), "float64", {}))
      files.save(path_of("bytes.npy"), core.files.from_bytes("\1\255", "uint8", { 2, 1 }))
      local printed = run_python(python, [[
import sys, numpy as np
for name in "matrix", "vector", "number", "bytes":
    a = np.load("%s/%s.npy" % (sys.argv[1], name))
    print(name, a.dtype, a.shape, a.tolist())
def save(name, a, version=None):
    with open("%s/%s.npy" % (sys.argv[1], name), "wb") as f:
        np.lib.format.write_array(f, a, version=version)
save("from1", np.arange(6, dtype="<f4").reshape(1, 2, 3))
save("from2", np.array([0.1, 1e300]), (2, 0))
save("from3", np.array(-5, dtype="<i8"))
save("from4", np.zeros((0, 2), dtype="u1"))
save("fortran", np.asfortranarray(np.ones((2, 3))))
save("big", np.ones(2, dtype=">f4"))
save("half", np.ones(2, dtype="<f2"))
save("record", np.zeros(2, dtype=[("a", "<f4")]))
save("version3", np.ones(2), (3, 0))
]])
      assert.equal([==[
matrix float32 (3, 2) [[1.5, 4.0], [2.0, 5.0], [3.0, 6.0]]
vector int64 (2,) [1, -2]
number float64 () 0.1
bytes uint8 (2, 1) [[1], [255]]
]==], printed)
      assert.same({ { { 0, 1, 2 }, { 3, 4, 5 } } }, files.load(path_of("from1.npy")):tolist())
      assert.same({ 0.1, 1e300 }, files.load(path_of("from2.npy")):tolist())
      assert.equal(-5, files.load(path_of("from3.npy")):item())
      assert.same({ 0, 2 }, files.load(path_of("from4.npy")):shape())
      raises("fortran_order is True", files.load, path_of("fortran.npy"))
      raises("'>f4' is not one of", files.load, path_of("big.npy"))
      raises("'<f2' is not one of", files.load, path_of("half.npy"))
      raises("record.npy: the value of 'descr'", files.load, path_of("record.npy"))
      raises("version 3.0", files.load, path_of("version3.npy"))
    end)

    it("says what is wrong with a damaged file", function()
      local function npy(header, data, version)
        return "\x93NUMPY" .. (version or "\1\0") .. string.pack("<s2", header) .. data
      end
      local function dict(shape) return "{'descr': '|u1', 'fortran_order': False, 'shape': " .. shape .. "}" end
      local cases = {
        { "", "not a .npy file" }, { "\x93NUMPX\1\0", "not a .npy file" }, { "\x93NUMPY\1", "not known" },
        { "\x93NUMPY\1\0", "truncated" }, { "\x93NUMPY\1\0\5", "truncated" },
        { "\x93NUMPY\1\0\5\0{", "announces a header of 5 bytes" },
        { "\x93NUMPY\2\0\255\255\255\255{}", "announces a header of 4294967295 bytes" },
        { npy(dict("(2,)"), "x"), "truncated: a uint8 tensor of shape %(2%) takes 2 bytes, but 1 follow" },
        { npy(dict("(2,)"), "xxx"), "oversized: .* takes 2 bytes, but 3 follow" },
        { npy(dict("(2)"), "xx"), "is a number, not a tuple" },
        { npy(dict("(-2,)"), "xx"), "value of 'shape'" },
        { npy(dict("(2 3)"), "xx"), "not a tuple" },
        { npy(dict("(2, 3 4)"), "xx"), "not a tuple of sizes" },
        { npy(dict("(,)"), "x"), "not a tuple of sizes" },
        { npy(dict("(1,,1)"), "x"), "not a tuple of sizes" },
        { npy(dict("(99999999999999999999,)"), "x"), "beyond any memory" },
        { npy(dict("(999999999999999999,999999999999999999,0)"), ""), "do not make" },
        { npy(dict("(1,1,1,1,1,1,1,1,1)"), "x"), "more than 8 axes" },
        { npy(dict("'(1,)'"), "x"), "shape is not a tuple" },
        { npy(dict("False"), "x"), "shape is not a tuple" },
        { npy(dict("(1,)") .. "+", "x"), "not a dict" },
        { npy("os.exit(7)", ""), "not a dict" },
        { npy("{'descr': __import__('os'), }", ""), "value of 'descr'" },
        { npy("{'descr': '|u1', 'descr': '|u1'}", ""), "stands twice" },
        { npy("{'descr': '|u1', 'shape': (1,)}", "x"), "lacks 'fortran_order'" },
        { npy("{'descr': '|u1', 'shape': (1,), 'fortran_order': False, 'code': 'x'}", "x"), "unknown entry 'code'" },
      }
      for _, case in ipairs(cases) do raises(case[2], files.load, write("bad.npy", case[1])) end
      assert.same({ 120 }, files.load(write("good.npy", npy(dict("(1,)"), "x"))):tolist())
      raises("holds one tensor, not a table", files.save, path_of("a.npy"), {})
      raises("no metadata", files.save, path_of("a.npy"), plumb.tensor({ 1 }), {})
      raises("must be a tensor", files.save, path_of("a.npy"), io.stdout)
    end)
  end)

  describe("any damage", function()
    -- A small generator of our own, so that a failure can be met again.
    local state
    local function random(n)
      state = (state * 6364136223846793005 + 1442695040888963407)
      return (state >> 33) % n + 1
    end

    local function damaged(text, header_bytes)
      if random(3) == 1 then return text:sub(1, random(#text) - 1) end
      for _ = 1, random(3) do
        local at = random(header_bytes)
        text = text:sub(1, at - 1) .. string.char(random(256) - 1) .. text:sub(at + 1)
      end
      return text
    end

    local function check(name, header_bytes)
      local whole, refused = read(name), 0
      state = 7
      for _ = 1, 1500 do
        local path = write("damaged-" .. name, damaged(whole, header_bytes))
        local loaded, result = pcall(files.load, path)
        if not loaded then
          refused = refused + 1
          assert.is_truthy(result:find(path, 1, true), result)
          assert.is_nil(result:find("attempt to"), result)
        end
      end
      assert.is_true(refused > 800, "refused only " .. refused)
    end

    it("of a safetensors header is an error that names the file", function()
      files.save(path_of("a.safetensors"), { w = plumb.tensor({ { 1, 2 }, { 3, 4 } }),
        b = plumb.tensor({ 1, 2 }, { dtype = "int64" }) }, { epoch = "1" })
      check("a.safetensors", string.unpack("<I8", read("a.safetensors")) + 8)
    end)

    it("of a npy header is an error that names the file", function()
      files.save(path_of("a.npy"), plumb.tensor({ { 1, 2 }, { 3, 4 } }))
      check("a.npy", 72)
    end)

    it("leaves no file open", function()
      local function open_files()
        collectgarbage()
        local count = 0
        for _ in lfs.dir("/proc/self/fd") do count = count + 1 end
        return count
      end
      local before = open_files()
      collectgarbage("stop")
      for _ = 1, 50 do
        pcall(files.load, write("bad.npy", "x"))
        pcall(core.files.read_idx, path_of("bad.npy"))
        pcall(core.files.write_atomically, path_of("bad.npy/x"), { "x" })
        pcall(core.files.read_idx, folder)
      end
      local count = 0
      for _ in lfs.dir("/proc/self/fd") do count = count + 1 end
      collectgarbage("restart")
      assert.equal(before, count)
    end)
  end)
end)
