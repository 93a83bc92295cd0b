--- The experiment harness: command line, run folder, metrics, figures, summary.

local lfs = require "lfs"
local json = require "dkjson"

local experiment = require "plumb.experiment"
local folders = require "folders"
local read, write, remove = folders.read, folders.write, folders.remove

-- ---- helpers -----------------------------------------------------------------------------------------------------

local function list(path)
  local names = {}
  for name in lfs.dir(path) do
    if name ~= "." and name ~= ".." then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function fake_stream()
  local stream = { bytes = "" }
  function stream:write(...) self.bytes = self.bytes .. table.concat({ ... }) return self end
  function stream:flush() return self end
  return stream
end

-- luacheck: push ignore 122 (fields of io are replaced and put back)
-- Runs f with standard output and standard error caught; returns them and what f returned, or raises its error.
local function caught(f)
  local stdout, stderr = io.stdout, io.stderr
  local out, err = fake_stream(), fake_stream()
  io.stdout, io.stderr = out, err
  local results = table.pack(pcall(f))
  io.stdout, io.stderr = stdout, stderr
  if not results[1] then error(results[2], 0) end
  return out.bytes, err.bytes, table.unpack(results, 2, results.n)
end
-- luacheck: pop

local SETTINGS = {
  { name = "epochs", default = 100, quick = 5, minimum = 1, help = "passes over the training set" },
  { name = "share", default = 1.0, quick = 0.5, help = "share of the labels that are random",
    check = function(value) return value >= 0 and value <= 1, "must be between 0 and 1" end },
  { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "the images" },
  { name = "train_samples", default = 0, minimum = 0, help = "images to train with, 0 for all of them; a long explanation "
    .. "that has to go on in the next line and in the one after it, too" },
  { name = "augment", default = false, help = "shift the images" },
  { name = "shuffle", default = true, quick = false, help = "a new order in each epoch" },
  { name = "widths", default = { 50, 100 }, quick = { 5 }, help = "hidden units" },
  { name = "rates", default = { 0, 0.5 }, help = "learning rates" },
  { name = "offset", default = -0.5, help = "an offset" },
}

describe("plumb.experiment", function()
  local base, here

  before_each(function()
    base = os.tmpname()
    os.remove(base)
    assert(lfs.mkdir(base))
    here = lfs.currentdir()
    assert(lfs.chdir(base))
  end)

  after_each(function()
    lfs.chdir(here)
    remove(base)
  end)

  -- Starts an experiment with these arguments; returns the run, what was printed, and the exit code.
  local function start(arguments, request)
    local code
    local full = { name = "labels", description = "Can a network fit random labels?", settings = SETTINGS,
                   arguments = arguments, exit = function(value) code = value end }
    for field, value in pairs(request or {}) do full[field] = value end
    local out, err, run = caught(function() return experiment.start(full) end)
    return run, out, err, code
  end

  local function refused(arguments, request)
    local run, out, err, code = start(arguments, request)
    assert.is_nil(run)
    assert.equal(2, code)
    assert.equal("", out)
    return err
  end

  local function config_of(run) return json.decode(read(run.folder .. "/config.json")) end

  describe("command line", function()
    it("uses the defaults", function()
      local settings = start({}).settings
      assert.equal(100, settings.epochs)
      assert.equal("integer", math.type(settings.epochs))
      assert.equal("float", math.type(settings.share))
      assert.equal("mnist", settings.dataset)
      assert.is_false(settings.augment)
      assert.is_true(settings.shuffle)
      assert.same({ 50, 100 }, settings.widths)
    end)

    it("uses the quick values, and what is given before those", function()
      local run = start{ "--epochs", "7", "--quick" }
      assert.is_true(run.quick)
      assert.equal(7, run.settings.epochs)
      assert.equal(0.5, run.settings.share)
      assert.is_false(run.settings.shuffle)
      assert.same({ 5 }, run.settings.widths)
      assert.equal("mnist", run.settings.dataset)
      assert.is_true(start{ "--quick", "--shuffle" }.settings.shuffle)
    end)

    it("reads every type", function()
      local settings = start{ "--share", "1", "--dataset=fashion_mnist", "--train-samples", "1e3", "--augment", "--no-shuffle",
                              "--widths", "1, 2,3", "--rates", "1,.25" }.settings
      assert.equal(1, settings.share)
      assert.equal("float", math.type(settings.share))
      assert.equal("fashion_mnist", settings.dataset)
      assert.equal(1000, settings.train_samples)
      assert.equal("integer", math.type(settings.train_samples))
      assert.is_true(settings.augment)
      assert.is_false(settings.shuffle)
      assert.same({ 1, 2, 3 }, settings.widths)
      assert.equal("integer", math.type(settings.widths[1]))
      assert.same({ 1.0, 0.25 }, settings.rates)
      assert.equal("float", math.type(settings.rates[1]))
    end)

    it("accepts underscores for dashes and negative numbers", function()
      local settings = start{ "--train_samples=12", "--offset", "-2.5", "--rates", "-1,2" }.settings
      assert.equal(12, settings.train_samples)
      assert.equal(-2.5, settings.offset)
      assert.same({ -1.0, 2.0 }, settings.rates)
    end)

    it("keeps underscores and dashes in values", function()
      local settings = start({ "--label=-a_b", "--dir", "x_y" }, { settings = {
        { name = "label", default = "" }, { name = "dir", default = "" } } }).settings
      assert.equal("-a_b", settings.label)
      assert.equal("x_y", settings.dir)
    end)

    it("takes seed and a default seed of 1", function()
      assert.equal(1, start({}).seed)
      assert.equal(42, start{ "--seed", "42" }.seed)
    end)

    it("refuses wrong values before any work", function()
      local wrong = {
        { { "--epochs", "many" }, "option --epochs: 'many' must be a whole number" },
        { { "--epochs", "1.5" }, "'1.5' must be a whole number" },
        { { "--epochs", "99999999999999999999" }, "must be a whole number" },
        { { "--epochs", "0" }, "'0' must be at least 1" },
        { { "--share", "nan" }, "'nan' must be a finite number" },
        { { "--share", "1e999" }, "must be a finite number" },
        { { "--share", "1.5" }, "option --share: '1.5' must be between 0 and 1" },
        { { "--share", "" }, "must be a finite number" },
        { { "--dataset", "mnost" }, "must be one of mnist, fashion_mnist" },
        { { "--widths", "1,,2" }, "must be a list of whole numbers" },
        { { "--widths", "1,2.5" }, "must be a list of whole numbers" },
        { { "--rates", "" }, "must be a list of numbers" },
        { { "--seed", "-1" }, "'-1' must be at least 0" },
        { { "--threads", "0" }, "must be at least 1" },
        { { "--out", "" }, "must not be empty" },
        { { "--epochs" }, "'--epochs' needs a value" },
        { { "--epochs", "--quick" }, "'--epochs' needs a value" },
        { { "--augment=yes" }, "does not take arguments" },
        { { "12" }, "'12' belongs to no option" },
      }
      for _, case in ipairs(wrong) do
        local err = refused(case[1])
        assert.truthy(err:find(case[2], 1, true), ("%q is not in %q"):format(case[2], err))
        assert.truthy(err:find("labels --help", 1, true))
        assert.same({}, list(base))
      end
    end)

    it("suggests the option that was meant", function()
      for wrong, meant in pairs{ ["--epoch"] = "--epochs", ["--epohcs"] = "--epochs", ["--train"] = "--train-samples",
                                 ["--train_sample=3"] = "--train-samples", ["--no-shufle"] = "--no-shuffle",
                                 ["-seed"] = "--seed", ["--thread"] = "--threads" } do
        local err = refused{ wrong }
        assert.truthy(err:find("did you mean " .. meant .. "?", 1, true), err)
      end
      local err = refused{ "--zzzzzz" }
      assert.truthy(err:find("unknown option '--zzzzzz'", 1, true))
      assert.falsy(err:find("did you mean", 1, true))
    end)

    it("has no --no- form for --quick", function()
      assert.truthy(refused{ "--no-quick" }:find("unknown option '--no-quick'", 1, true))
    end)

    it("shows help of at most 80 columns and stops with code 0", function()
      for _, arguments in ipairs{ { "--help" }, { "-h" }, { "--epochs", "many", "--help" } } do
        local run, out, err, code = start(arguments)
        assert.is_nil(run)
        assert.equal(0, code)
        assert.equal("", err)
        for line in out:gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
        assert.truthy(out:find("Can a network fit random labels?", 1, true))
        assert.truthy(out:find("%-%-epochs N +passes over the training set %(default: 100; quick: 5%)"))
        assert.truthy(out:find("%-%-widths LIST +hidden units %(default: 50,100; quick: 5%)"))
        assert.truthy(out:find("mnist or fashion_mnist; default: mnist", 1, true))
        assert.truthy(out:find("(default: yes; quick: no)", 1, true))
        assert.truthy(out:find("--no-shuffle", 1, true))
        assert.truthy(out:find("\nSettings:\n  --epochs N", 1, true))
        assert.truthy(out:find("\nEvery experiment:\n  --quick", 1, true))
        assert.truthy(out:find("\n  --help, -h ", 1, true))
        assert.truthy(out:find("\n  --out DIR", 1, true))
        assert.truthy(out:find("\n  --dataset NAME", 1, true))
        local last = 0
        for _, setting in ipairs(SETTINGS) do
          local at = out:find("\n  --" .. setting.name:gsub("_", "-"), 1, true)
          assert.is_true(at and at > last, setting.name)
          last = at
        end
        for _, name in ipairs{ "quick", "seed", "threads", "out", "overwrite" } do
          assert.truthy(out:find("\n  --" .. name, 1, true), name)
        end
        assert.same({}, list(base))
      end
    end)

    it("reads the command line of the process and leaves with os.exit", function()
      local old_arg, old_exit = _G.arg, os.exit
      finally(function() _G.arg, os.exit = old_arg, old_exit end) -- luacheck: ignore
      local code
      os.exit = function(value) code = value end -- luacheck: ignore
      _G.arg = { [-1] = "./plumb", [0] = "scripts/labels.lua", "--epochs", "3", "--out", "it's here" }
      local _, _, run = caught(function() return experiment.start{ name = "labels", settings = SETTINGS } end)
      assert.equal(3, run.settings.epochs)
      assert.equal("./plumb scripts/labels.lua --epochs 3 --out 'it'\\''s here'", config_of(run).command)
      _G.arg = { [-1] = "./plumb", [0] = "scripts/labels.lua", "--epoch", "3" }
      local _, err = caught(function() return experiment.start{ name = "labels", settings = SETTINGS } end)
      assert.equal(2, code)
      assert.truthy(err:find("Try './plumb scripts/labels.lua --help'", 1, true))
    end)
  end)

  describe("declaration", function()
    local function declare(setting, request)
      local full = { name = "labels", arguments = {}, settings = { setting } }
      for field, value in pairs(request or {}) do full[field] = value end
      return function() caught(function() experiment.start(full) end) end
    end

    it("blames the script for its mistakes", function()
      local ok, message = pcall(declare{ name = "x", default = 1, quik = 2 })
      assert.is_false(ok)
      assert.truthy(message:find("experiment_spec.lua:%d+: experiment: setting 'x' has no field 'quik'"), message)
      assert.error_matches(declare{ default = 1 }, "must be a table with a name")
      assert.error_matches(declare{ name = "Big Name", default = 1 }, "a name is made of small letters")
      assert.error_matches(declare{ name = "x" }, "its default is a nil")
      assert.error_matches(declare{ name = "x", default = 1, quick = 0.5 }, "its quick value must be a whole number")
      assert.error_matches(declare{ name = "x", default = 1, maximum = 0 }, "its default value must be at most 0")
      assert.error_matches(declare{ name = "x", default = "a", choices = { "b" } }, "must be one of b")
      assert.error_matches(declare{ name = "x", default = "a", minimum = 1 }, "minimum and maximum are for numbers")
      assert.error_matches(declare{ name = "seed", default = 1 }, "there is already an option %-%-seed")
      assert.error_matches(declare{ name = "help", default = 1 }, "there is already an option %-%-help")
      assert.error_matches(declare({ name = "x", default = 1 }, { name = "a/b" }), "a name made of letters")
      assert.error_matches(declare({ name = "x", default = 1 }, { setings = {} }), "there is no field 'setings'")
      assert.error_matches(declare({ name = "x", default = 1 }, { name = 3 }), "name must be a string, not a number")
      assert.error_matches(declare({ name = "x", default = 1, help = 3 }), "help must be a string, not a number")
      assert.error_matches(function() experiment.start() end, "expected a table, not a nil")
      assert.error_matches(function() experiment.start{} end, "a name made of letters")
      assert.error_matches(declare({ name = "x", default = 1 }, { columns = { "a b" } }), "column 'a b'")
      assert.error_matches(declare({ name = "x", default = 1 }, { columns = { "a", "a" } }), "'a' is declared twice")
    end)

    it("gives quick values the type of the default", function()
      local run = start({ "--quick" }, { settings = { { name = "x", default = 0.5, quick = 1 } } })
      assert.equal("float", math.type(run.settings.x))
    end)

    it("seals the settings", function()
      local settings = start({}).settings
      assert.error_matches(function() return settings.epoch end, "run.settings has no 'epoch'; did you mean 'epochs'")
      assert.error_matches(function() settings.epochs = 3 end, "can't be changed")
      local names = {}
      for name in pairs(settings) do names[name] = true end
      assert.is_true(names.augment and names.widths and not names.seed)
    end)
  end)

  describe("run folder", function()
    it("is new for each run, also within a second", function()
      local seen = {}
      for _ = 1, 5 do
        local run, out = start{}
        assert.truthy(run.folder:find("^runs/labels%-%d%d%d%d%d%d%d%d%-%d%d%d%d%d%d"))
        assert.is_nil(seen[run.folder])
        assert.truthy(out:find(run.folder, 1, true))
        seen[run.folder] = true
      end
      assert.equal(5, #list("runs"))
    end)

    it("holds a config.json that tells everything, in a fixed order", function()
      local old = package.loaded.plumb
      finally(function() package.loaded.plumb = old end)
      local threads = 4
      package.loaded.plumb = { version = "1.2.3", cpu_kernel = function() return "Haswell" end,
                               threads = function(count) threads = count or threads return threads end }
      local run = start{ "--out", "a/b/c", "--threads", "2", "--seed", "9", "--share", "0.1", "--quick" }
      assert.equal("a/b/c", run.folder)
      assert.equal(2, threads)
      assert.equal(2, run.threads)
      local config = config_of(run)
      assert.equal("labels", config.name)
      assert.equal("1.2.3", config.version)
      assert.equal("Haswell", config.cpu_kernel)
      assert.equal(2, config.threads)
      assert.equal(9, config.seed)
      assert.is_true(config.quick)
      assert.equal("labels --out a/b/c --threads 2 --seed 9 --share 0.1 --quick", config.command)
      assert.truthy(config.started:find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ$"))
      assert.same({ epochs = 5, share = 0.1, dataset = "mnist", train_samples = 0, augment = false, shuffle = false,
                    widths = { 5 }, rates = { 0, 0.5 }, offset = -0.5 }, config.settings)
      local order = {}
      for name in read("a/b/c/config.json"):match('"settings":(%b{})'):gmatch('"([%w_]+)":') do order[#order + 1] = name end
      assert.same({ "epochs", "share", "dataset", "train_samples", "augment", "shuffle", "widths", "rates", "offset" }, order)
    end)

    it("leaves the threads alone unless they are given", function()
      local old = package.loaded.plumb
      finally(function() package.loaded.plumb = old end)
      local set
      package.loaded.plumb = { threads = function(count) set = set or count return 3 end }
      assert.equal(3, config_of(start{}).threads)
      assert.is_nil(set)
    end)

    it("turns a refused number of threads into an option error", function()
      local old = package.loaded.plumb
      finally(function() package.loaded.plumb = old end)
      package.loaded.plumb = { threads = function(count) if count then error("at most 64", 0) end return 1 end }
      assert.truthy(refused{ "--threads", "65" }:find("option --threads: at most 64", 1, true))
    end)

    it("leaves no draft behind when it can't be named", function()
      local rename = os.rename
      finally(function() os.rename = rename end) -- luacheck: ignore
      os.rename = function(from, to) -- luacheck: ignore
        if to:find("config.json", 1, true) then return rename(from, to) end
        return nil, "refused"
      end
      assert.truthy(refused({}):find("can't use the output folder: refused", 1, true))
      assert.same({}, list("runs"))
    end)

    it("takes an empty folder, with or without a slash behind it", function()
      lfs.mkdir("empty")
      assert.equal("empty", start{ "--out", "empty/" }.folder)
      assert.equal("labels", config_of({ folder = "empty" }).name)
    end)

    it("refuses a folder that can't be written to", function()
      write("file", "x")
      assert.truthy(refused{ "--out", "file" }:find("can't use the output folder: 'file'", 1, true))
      assert.truthy(refused{ "--out", "file/sub" }:find("can't use the output folder", 1, true))
      assert.truthy(refused{ "--out", "/proc/plumb" }:find("can't use the output folder", 1, true))
      assert.truthy(refused{ "--out", "/proc/self" }:find("can't use the output folder", 1, true))
      assert.equal("x", read("file"))
    end)

    it("refuses when the folder of all runs can't be made", function()
      write("runs", "x")
      assert.truthy(refused({}):find("can't use the output folder", 1, true))
    end)

    it("refuses the folder of another experiment, also with --overwrite", function()
      start({ "--out", "d" }, { name = "flatness" })
      local before = read("d/config.json")
      for _, arguments in ipairs{ { "--out", "d" }, { "--out", "d", "--overwrite" } } do
        assert.truthy(refused(arguments):find("belongs to another experiment, flatness", 1, true))
      end
      assert.equal(before, read("d/config.json"))
    end)

    it("refuses a config.json of something else, and results without one", function()
      lfs.mkdir("other")
      for _, bytes in ipairs{ "{", "[1]", '{"version": 3}', "" } do
        write("other/config.json", bytes)
        assert.truthy(refused{ "--out", "other", "--overwrite" }:find("not of a run", 1, true))
        assert.equal(bytes, read("other/config.json"))
      end
      os.remove("other/config.json")
      write("other/metrics.csv", "mine")
      assert.truthy(refused{ "--out", "other", "--overwrite" }:find("holds a metrics.csv but no config.json", 1, true))
      assert.equal("mine", read("other/metrics.csv"))
    end)

    it("replaces an earlier run only with --overwrite", function()
      local run = start{ "--out", "d" }
      run:record{ epoch = 1 }
      run:summary("loss", 1, "a loss")
      caught(function() run:finish() end)
      lfs.mkdir("d/checkpoint")
      write("d/checkpoint/fit-1.safetensors", "old")
      local err = refused{ "--out", "d", "--seed", "2" }
      assert.truthy(err:find("already holds a run of labels, started %d%d%d%d%-"))
      assert.truthy(err:find("--overwrite", 1, true))
      assert.equal("epoch\n1\n", read("d/metrics.csv"))
      assert.equal(1, config_of({ folder = "d" }).seed)
      local again = start{ "--out", "d", "--overwrite", "--seed", "2" }
      assert.equal(2, config_of(again).seed)
      assert.same({ "config.json" }, list("d"))
    end)
  end)

  describe("metrics.csv", function()
    local function metrics(run) return read(run.folder .. "/metrics.csv") end

    it("has one flushed row per record, with every digit", function()
      local run = start{}
      run:record{ test_loss = 0.1 + 0.2, model = "deep", epoch = 1, accuracy = 1.0 }
      assert.equal("epoch,model,accuracy,test_loss\n1,deep,1,0.30000000000000004\n", metrics(run))
      run:record{ epoch = 2, model = "deep", test_loss = 1e-300 }
      assert.equal("epoch,model,accuracy,test_loss\n1,deep,1,0.30000000000000004\n2,deep,,1e-300\n", metrics(run))
    end)

    it("writes numbers that read back as the same bits", function()
      local run, values = start{}, { 1 / 3, 2^-1074, 1.7976931348623157e308, -0.1, 5e-324, 123456789.123456789, 2^53 }
      for _, value in ipairs(values) do run:record{ x = value } end
      local i = 0
      for written in metrics(run):gsub("^x\n", ""):gmatch("[^\n]+") do
        i = i + 1
        assert.equal(values[i], tonumber(written))
      end
      assert.equal(#values, i)
    end)

    it("writes what is not finite by name, and takes tensors of one element and booleans", function()
      local run = start{}
      run:record{ a = 0 / 0, b = math.huge, c = -math.huge, d = { item = function() return 0.25 end }, e = true }
      assert.equal("a,b,c,d,e\nnan,inf,-inf,0.25,true\n", metrics(run))
    end)

    it("quotes text", function()
      local run = start{}
      run:record{ model = 'a "b", c', note = "two\nlines" }
      assert.equal('model,note\n"a ""b"", c",two lines\n', metrics(run))
    end)

    it("adds a column that comes later behind the others", function()
      local run = start{}
      run:record{ epoch = 1, model = "a, b", loss = 0.5 }
      run:record{ epoch = 2, model = "c", loss = 0.25, test_loss = 1, lr = 0.1 }
      run:record{ epoch = 3, lr = 0.2 }
      assert.equal('epoch,model,loss,lr,test_loss\n1,"a, b",0.5,,\n2,c,0.25,0.1,1\n3,,,0.2,\n', metrics(run))
    end)

    it("keeps all rows when columns come late and again", function()
      local run = start{}
      for epoch = 1, 4 do run:record{ epoch = epoch } end
      run:record{ epoch = 5, loss = 1 }
      run:record{ epoch = 6 }
      run:record{ epoch = 7, margin = 2 }
      run:record{ zeal = 3 }
      assert.equal("epoch,loss,margin,zeal\n1,,,\n2,,,\n3,,,\n4,,,\n5,1,,\n6,,,\n7,,2,\n,,,3\n", metrics(run))
    end)

    it("allows only the declared columns, whose header is there at once", function()
      local run = start({}, { columns = { "loss", "epoch" } })
      assert.equal("loss,epoch\n", metrics(run))
      run:record{ epoch = 1, loss = 2 }
      local ok, message = pcall(run.record, run, { epoch = 2, los = 1 })
      assert.is_false(ok)
      assert.truthy(message:find("column 'los' is not among the declared ones (loss, epoch)", 1, true))
      run:record{ epoch = 2 }
      assert.equal("loss,epoch\n2,1\n,2\n", metrics(run))
    end)

    it("refuses bad rows before writing anything, and blames the caller", function()
      local run = start{}
      run:record{ epoch = 1 }
      local _, message = pcall(function() run:record{ epoch = 2, ["train loss"] = 1 } end)
      assert.truthy(message:find("experiment_spec.lua:%d+: run:record: column 'train loss'"), message)
      assert.error_matches(function() run:record{ epoch = 2, loss = {} } end, "column 'loss' is a table")
      assert.error_matches(function() run:record{ epoch = 2, loss = print } end, "column 'loss' is a function")
      assert.error_matches(function() run:record{ 5 } end, "column '1'")
      assert.error_matches(function() run:record(5) end, "not a number")
      assert.equal("epoch\n1\n", metrics(run))
      run:record{ epoch = 2 }
      assert.equal("epoch\n1\n2\n", metrics(run))
    end)

    it("outlives a full disk: one warning, and no row is lost", function()
      local run = start{}
      run:record{ epoch = 1 }
      run.metrics.file:close()
      run.metrics.file = assert(io.open("/dev/full", "ab"))
      local folder = require "plumb.experiment.folder"
      local write_file = folder.write
      finally(function() folder.write = write_file end)
      folder.write = function() return nil, "No space left on device" end
      local _, err = caught(function()
        for epoch = 2, 150 do run:record{ epoch = epoch } end
      end)
      assert.equal(1, select(2, err:gsub("warning: can't write", "")))
      assert.truthy(err:find("No space left on device", 1, true))
      assert.equal("epoch\n1\n", metrics(run))
      run:record{ epoch = 151, late = 1 }
      folder.write = write_file
      caught(function() run:finish() end)
      local lines = {}
      for line in metrics(run):gmatch("[^\n]+") do lines[#lines + 1] = line end
      assert.equal(152, #lines)
      assert.equal("epoch,late", lines[1])
      for epoch = 1, 150 do assert.equal(epoch .. ",", lines[epoch + 1]) end
      assert.equal("151,1", lines[152])
    end)

    it("drops a torn row when the disk has room again", function()
      local run = start{}
      run:record{ epoch = 1 }
      local file, path = run.metrics.file, run.folder .. "/metrics.csv"
      run.metrics.file = { -- takes half of the row and then refuses
        write = function(_, bytes) file:write(bytes:sub(1, 1)) file:flush() return nil, "No space left on device" end,
        flush = function() return true end, close = function() file:close() end,
      }
      caught(function() run:record{ epoch = 222 } end)
      assert.equal("epoch\n1\n2", read(path))
      caught(function() run:finish() end)
      assert.equal("epoch\n1\n222\n", read(path))
    end)

    it("raises at the end when rows could not be written at all", function()
      local run = start{}
      run:record{ epoch = 1 }
      remove(run.folder)
      local _, err = caught(function() run:record{ epoch = 2, loss = 1 } end)
      assert.truthy(err:find("warning: can't write", 1, true))
      local ok, message
      caught(function() ok, message = pcall(run.finish, run) end)
      assert.is_false(ok)
      assert.truthy(message:find("metrics.csv is not complete", 1, true))
    end)
  end)

  describe("figures", function()
    local function figure(answers)
      local paths = {}
      return { save = function(_, path)
        paths[#paths + 1] = path
        local answer = answers and answers[path:match("%.%w+$")]
        if answer == "raise" then error("boom", 0) end
        if answer then return nil, answer end
        write(path, "drawing")
        return path
      end }, paths
    end

    it("are saved as svg, png and gp", function()
      local run = start{}
      local one = figure()
      local _, err, whole = caught(function() return run:figure("loss_sine", one) end)
      assert.is_true(whole)
      assert.equal("", err)
      assert.same({ "config.json", "loss_sine.gp", "loss_sine.png", "loss_sine.svg" }, list(run.folder))
    end)

    it("that can't be drawn cost a warning", function()
      local run = start{}
      local one = figure{ [".svg"] = "gnuplot failed", [".png"] = "raise" }
      local _, err, whole = caught(function() return run:figure("loss", one) end)
      assert.is_false(whole)
      assert.equal("labels: warning: figure loss: no .svg, .png: gnuplot failed\n", err)
      assert.same({ "config.json", "loss.gp" }, list(run.folder))
      local out = caught(function() run:finish() end)
      assert.truthy(out:find("  loss .gp\n", 1, true))
    end)

    it("of an overwritten run don't pass for new ones", function()
      local run = start{ "--out", "d" }
      caught(function() run:figure("loss", (figure())) end)
      run = start{ "--out", "d", "--overwrite" }
      caught(function() run:figure("loss", (figure{ [".svg"] = "gnuplot failed" })) end)
      assert.same({ "config.json", "loss.gp", "loss.png" }, list("d"))
      caught(function() run:figure("loss", (figure{ [".png"] = "gnuplot failed" })) end)
      assert.same({ "config.json", "loss.gp", "loss.png", "loss.svg" }, list("d")) -- an earlier figure of this run stays
    end)

    it("need a plain name and a figure", function()
      local run = start{}
      for _, name in ipairs{ "a/b", "../a", "", ".hidden", "-x", "a\0b" } do
        assert.error_matches(function() run:figure(name, (figure())) end, "run:figure: the name")
      end
      assert.error_matches(function() run:figure("a", { 1, 2 }) end, "must be a figure made by plumb.plot")
      assert.error_matches(function() run:figure("a") end, "must be a figure made by plumb.plot, not a nil")
      assert.same({ "config.json" }, list(run.folder))
    end)
  end)

  describe("summary", function()
    local MEANING = "median training loss of the last tenth of the epochs, mean squared error"

    it("is written with values and meanings, in the order given", function()
      local run = start{}
      run:summary("zeta", 1 / 3, MEANING)
      run:summary("alpha", 12, "a count")
      run:summary("fitted", "not converged", "a verdict")
      run:summary("good", false, "a truth")
      run:summary("diverged", 0 / 0, "a loss")
      run:summary("endless", math.huge, "a loss")
      run:summary("tensor", { item = function() return 0.5 end }, "a tensor")
      assert.falsy(lfs.attributes(run.folder .. "/summary.json"))
      caught(function() run:finish() end)
      local bytes = read(run.folder .. "/summary.json")
      local summary = json.decode(bytes)
      assert.equal(1 / 3, summary.zeta.value)
      assert.equal(MEANING, summary.zeta.meaning)
      assert.equal(12, summary.alpha.value)
      assert.equal("not converged", summary.fitted.value)
      assert.is_false(summary.good.value)
      assert.equal("nan", summary.diverged.value)
      assert.equal("inf", summary.endless.value)
      assert.equal(0.5, summary.tensor.value)
      local order = {}
      for name in bytes:gmatch('\n  "(%w+)":') do order[#order + 1] = name end
      assert.same({ "zeta", "alpha", "fitted", "good", "diverged", "endless", "tensor" }, order)
    end)

    it("is printed as an aligned table that fits 80 columns, with the figures behind", function()
      local run = start{ "--out", "d" }
      run:summary("deep_loss", 0.00912345678, MEANING)
      run:summary("loss", 12, "short")
      caught(function() run:figure("losses", { save = function(_, path) return path end }) end)
      local out = caught(function() run:finish() end)
      for line in out:gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
      local lines = {}
      for line in out:gmatch("[^\n]+") do lines[#lines + 1] = line end
      assert.equal("  deep_loss  0.0091235  median training loss of the last tenth of the epochs,", lines[2])
      assert.equal("                        mean squared error", lines[3])
      assert.equal("  loss       12         short", lines[4])
      assert.equal("figures in d/", lines[5])
      assert.equal("  losses .svg .png .gp", lines[6])
      assert.is_nil(lines[7])
    end)

    it("puts meanings below when names and values are long", function()
      local run = start{ "--out", "d" }
      run:summary("a_very_long_name_of_a_result_indeed", "not converged at all", MEANING)
      local out = caught(function() run:finish() end)
      assert.truthy(out:find("\n  a_very_long_name_of_a_result_indeed  not converged at all\n      median training", 1, true))
      for line in out:gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
    end)

    it("writes valid JSON whatever the text is", function()
      local run = start{}
      run:summary("hard", 'a "quote"\n\\ \xff', "na\xc3\xafve\t\"meaning\"")
      caught(function() run:finish() end)
      local entry = json.decode(read(run.folder .. "/summary.json")).hard
      assert.equal('a "quote"\n\\ ?', entry.value)
      assert.equal("na\xc3\xafve\t\"meaning\"", entry.meaning)
    end)

    it("is an empty object without results", function()
      local run = start{}
      caught(function() run:finish() end)
      assert.equal("{}", (read(run.folder .. "/summary.json"):gsub("%s", "")))
    end)

    it("refuses a missing meaning, a second value and what is no result", function()
      local run = start{}
      run:summary("loss", 1, "a loss")
      local _, message = pcall(function() run:summary("loss", 2, "a loss") end)
      assert.truthy(message:find("experiment_spec.lua:%d+:.*already a 'loss'"), message)
      assert.error_matches(function() run:summary("other", 2) end, "needs its meaning")
      assert.error_matches(function() run:summary("other", nil, "x") end, "is a nil, expected")
      assert.error_matches(function() run:summary("other loss", 2, "x") end, "the name 'other loss'")
    end)

    it("has verdicts on claims: printed, and written with the numbers that decide them", function()
      local run = start{ "--out", "d" }
      run:summary("loss", 0.5, "a loss")
      run:verdict("deeper", "the deep network ends at a smaller training loss than the shallow one", true, "0.009 against 0.059")
      run:verdict("wider", "wider is better", false, "1 against 2")
      run:verdict("arrived", "it arrives", "not converged", "1e-3 after 10 steps")
      run:figure("losses", { save = function(_, path) return path end }, "Losses by step.")
      local out = caught(function() run:finish() end)
      assert.truthy(out:find("\n  the deep network ends at a smaller training loss than the shallow one: HOLDS\n    (0.009", 1, true), out)
      assert.truthy(out:find("\n  wider is better: DOES NOT HOLD (1 against 2)\n", 1, true), out)
      for line in out:gmatch("[^\n]+") do assert.is_true(#line <= 80, line) end
      local summary, record = json.decode(read("d/summary.json")), json.decode(read("d/run.json"))
      assert.same({ value = "not converged", meaning = "it arrives", numbers = "1e-3 after 10 steps" }, summary.arrived)
      assert.equal("holds", summary.deeper.value)
      assert.same({ { name = "losses", caption = "Losses by step." } }, record.figures)
      assert.is_true(record.seconds >= 0)
    end)

    it("refuses verdicts without claim, outcome or numbers", function()
      local run = start{}
      assert.error_matches(function() run:verdict("a", nil, true, "1") end, "'a' needs its claim")
      assert.error_matches(function() run:verdict("a", "a claim", nil, "1") end, "outcome of 'a' must be")
      assert.error_matches(function() run:verdict("a", "a claim", "maybe", "1") end, "outcome of 'a' must be")
      assert.error_matches(function() run:verdict("a", "a claim", true) end, "'a' needs the numbers")
      assert.error_matches(function() run:verdict("a", "a claim", true, "more than less") end, "'a' needs the numbers")
      run:verdict("a", "a claim", true, "1 > 0")
      assert.error_matches(function() run:verdict("a", "a claim", true, "1") end, "already a 'a'")
    end)

    it("raises when it can't be written, after printing it", function()
      local run = start{}
      run:summary("loss", 1.5, "a loss")
      remove(run.folder)
      local ok, message
      local out = caught(function() ok, message = pcall(run.finish, run) end)
      assert.is_false(ok)
      assert.truthy(message:find("run.json is not written", 1, true))
      assert.truthy(out:find("loss  1.5  a loss", 1, true))
    end)

    it("is finished once", function()
      local run = start{}
      caught(function() run:finish() end)
      assert.error_matches(function() run:finish() end, "has already finished")
    end)
  end)

  it("takes a progress line off the screen before it speaks", function()
    local progress = require "plumb.progress"
    local now, run = 0, start{}
    local _, err = caught(function()
      local bar = progress.new{ total = 9, stream = io.stderr, terminal = true, width = 20, clock = function() return now end }
      for _, speak in ipairs{ run.say, run.warn } do
        now = now + 2
        bar:update(now)
        speak(run, "text")
      end
    end)
    local _, lines = err:gsub("\r +\r", "")
    assert.equal(2, lines)
    assert.truthy(err:find("\r +\rlabels: warning: text\n$"))
  end)

  it("knows which name was meant", function()
    local nearest = require("plumb.experiment.text").nearest
    assert.equal("epochs", nearest("pochs", { "batch", "epochs" }))
    assert.equal("epochs", nearest("epchs", { "epochs", "batch" }))
    assert.is_nil(nearest("abcd", { "d", "dcba" }))
  end)

  it("says lines, formatted when there is more than the line", function()
    local run = start{}
    local out = caught(function()
      run:say("100 %d")
      run:say("%d of %s", 3, "four")
    end)
    assert.equal("100 %d\n3 of four\n", out)
  end)
end)
