--- What comes out of an experiment: metrics, figures, summary, words.

local json = require "dkjson"
local lfs = require "lfs"

local experiments = require "experiments"
local folders = require "folders"
local script_runs = require "script_runs"
local support = require "support"
local read, write, remove, list = folders.read, folders.write, folders.remove, folders.list
local caught, start = experiments.caught, experiments.start

describe("a run", function()
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

    it("has a row for each epoch of a training that asks for them", function()
      local plumb = require "plumb"
      local run, x, y = start {}, plumb.rand(6, 2), plumb.tensor({ 1, 2, 1, 2, 1, 2 }, { dtype = "int64" })
      local function fit(options)
        options.loss, options.optimizer = plumb.nn.CrossEntropyLoss(), plumb.optim.Adam()
        options.epochs, options.batch, options.progress = 4, 3, false
        return run:fit(plumb.nn.Linear(2, 2), { x = x, y = y }, options)
      end
      local expected, seen = {}, {}
      local function expect(h, name, epochs)
        for e = 1, epochs do
          expected[#expected + 1] = { epoch = e, network = name, train_loss = h.train_loss[e], train_accuracy = h.train_accuracy[e],
            test_loss = h.test_loss[e] or "", test_accuracy = h.test_accuracy[e] or "" }
        end
      end
      expect(fit { row = { network = "a" } }, "a", 4)
      expect(fit { row = { network = "b" }, validate = { x = x, y = y }, on_epoch = function(h)
        seen[#seen + 1] = h.epoch
        return h.epoch < 3
      end }, "b", 3) -- the hook ends it
      assert.same({ 1, 2, 3 }, seen)
      local columns, rows = script_runs.read_csv(run.folder .. "/metrics.csv")
      assert.same({ "epoch", "network", "train_accuracy", "train_loss", "test_accuracy", "test_loss" }, columns)
      assert.same(expected, rows)
      support.fails_here(function() fit { row = "deep" } end, "row must be a table of columns")
      support.fails_here(function() fit { row = {}, on_epoch = 3 } end, "on_epoch must be a function beside row")
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
      assert.truthy(message:find("results_spec.lua:%d+: run:record: column 'train loss'"), message)
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
      assert.truthy(message:find("results_spec.lua:%d+:.*already a 'loss'"), message)
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

  it("says lines, formatted when there is more than the line", function()
    local run = start{}
    local out = caught(function()
      run:say("100 %d")
      run:say("%d of %s", 3, "four")
    end)
    assert.equal("100 %d\n3 of four\n", out)
  end)
end)
