--- The experiment harness: command line, declaration of settings, run folder. What comes out is in results_spec.lua.

local json = require "dkjson"
local lfs = require "lfs"

local experiment = require "plumb.experiment"
local experiments = require "experiments"
local folders = require "folders"
local read, write, remove, list = folders.read, folders.write, folders.remove, folders.list
local caught, start, SETTINGS = experiments.caught, experiments.start, experiments.SETTINGS

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

  local function refused(arguments, request)
    local run, out, err, code = start(arguments, request)
    assert.is_nil(run)
    assert.equal(2, code)
    assert.equal("", out)
    return err
  end

  local function config_of(run) return json.decode(read(run.folder .. "/config.json")) end

  describe("command line", function()
    it("says what a setting stands for and is not there, before it makes a folder", function()
      local asked
      local images = { name = "images", default = "none", help = "which images",
        missing = function(name) asked = name return name == "none" and "there are no images" or nil end }
      assert.equal("labels: there are no images\nTry 'labels --help'.\n", refused({ "--out", "d" }, { settings = { images } }))
      assert.is_nil(lfs.attributes("d"))
      assert.equal("some", start({ "--images", "some", "--out", "d" }, { settings = { images } }).settings.images)
      assert.equal("some", asked)
      images.missing = "no function"
      assert.error_matches(function() start({}, { settings = { images } }) end, "missing must be a function, not a string")
    end)

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
      assert.error_matches(declare{ name = "x", default = 1, ascending = true }, "ascending and length are for lists")
      assert.error_matches(declare{ name = "x", default = { 2, 1 }, ascending = true }, "must ascend, but 1 comes after 2")
      assert.error_matches(declare{ name = "x", default = 1, length = { 2 } }, "ascending and length are for lists")
      assert.error_matches(declare{ name = "x", default = { 2 }, length = { 2 } }, "must be at least 2 numbers, not 1")
      assert.error_matches(declare{ name = "x", default = { 2 }, length = { 2, 2 } }, "must be 2 numbers, not 1")
      assert.error_matches(declare{ name = "x", default = { 2 }, length = { 2, 3 } }, "must be 2 to 3 numbers, not 1")
      declare{ name = "x", default = { 1, 2 }, length = { 2 } }()
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

  it("knows which name was meant", function()
    local nearest = require("plumb.experiment.text").nearest
    assert.equal("epochs", nearest("pochs", { "batch", "epochs" }))
    assert.equal("epochs", nearest("epchs", { "epochs", "batch" }))
    assert.is_nil(nearest("abcd", { "d", "dcba" }))
  end)
end)
