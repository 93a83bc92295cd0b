-- help(), the search, and the reference as HTML: one text for all of them, and no public function without one.
local plumb = require "plumb"
local catalogue = require "plumb.help.catalogue"
local docstrings = require "plumb.help.docstrings"
local folders = require "folders"
local help = require "plumb.help"
local html = require "plumb.help.html"

local function module_names() return getmetatable(plumb).__names() end

local function printed(f, ...)
  local lines, old = {}, print
  _G.print = function(text) lines[#lines + 1] = text end
  local ok, message = pcall(f, ...)
  _G.print = old
  assert(ok, message)
  return table.concat(lines, "\n")
end

describe("documentation", function()
  it("is there for every public function, operator and class", function()
    local missing = {}
    local function check(prefix, t)
      for name, value in pairs(t) do
        local operator = plumb.operators[name] ~= nil -- has its documentation by its name, too
        local callable = not operator and type(value) == "function" or type(value) == "table" and rawget(value, "doc") ~= nil
        local text = callable and type(name) == "string" and not name:find("^_") and help.text(value)
        if text == nil or text == "" then missing[#missing + 1] = prefix .. name end
      end
    end
    check("plumb.", plumb)
    check("tensor:", plumb.core.methods)
    for _, name in ipairs(module_names()) do check(name .. ".", plumb[name]) end
    table.sort(missing)
    assert.same({}, missing)
    for name, row in pairs(plumb.operators) do assert.truthy(#row.doc > 5, name) end
  end)

  it("is found for functions, methods, classes, objects, modules and operators", function()
    local model = plumb.nn.Sequential { plumb.nn.Linear(1, 2) }
    for expected, x in pairs {
      ["grad(f, {count = 1}) -> "] = plumb.grad, ["t:item() -> "] = plumb.core.methods.item,
      ["t:float(), t:double(), t:long(): "] = plumb.core.methods.long, ["exp(x): "] = "exp", ["sum(x, "] = plumb.zeros(2).sum,
      ["nn.Linear(inputs, outputs, {bias = true}): "] = plumb.nn.Linear, ["nn.Sequential{"] = model,
      ["optim.Adam{lr = 1e-3, "] = plumb.optim.Adam {}, ["plumb.nn: layers"] = plumb.nn, ["fit(model, train, options) -> "] = plumb.fit,
      ["module:state_dict() -> "] = model.state_dict, ["A tensor"] = plumb.zeros(2), ["memory() -> "] = plumb.memory,
    } do
      local text = help.text(x)
      assert.truthy(text and text:find(expected, 1, true) == 1, expected .. " begins " .. tostring(text))
    end
    assert.is_nil(help.text(5))
    assert.is_nil(help.text({}))
    assert.is_nil(help.text(print))
    assert.is_nil(help.text("no operator"))
  end)

  it("is printed with its paragraphs filled", function()
    assert.truthy(printed(plumb.help, plumb.nn.Linear):find("weight (outputs, inputs) and bias (outputs)", 1, true))
    assert.truthy(printed(plumb.help, plumb.optim.Adam):find("\n  m = b1 m + (1 - b1) g", 1, true))
    assert.truthy(printed(plumb.help):find("help(x) explains", 1, true))
    assert.truthy(printed(plumb.help, {}):find("no documentation of this table", 1, true))
    assert.truthy(printed(plumb.help, "kaiming_uniform"):find("nn.Linear", 1, true))
    assert.truthy(printed(plumb.help, "words that no docstring has: xyzzy"):find("Nothing in the reference", 1, true))
  end)

  it("is searched for all words, names first", function()
    assert.equal("softmax", help.search("softmax")[1].name)
    assert.equal("hvp", help.search("hvp")[1].name)
    assert.equal("nn.Dropout", help.search("DROPOUT")[1].name)
    for _, entry in ipairs(help.search("learning rate")) do
      assert.truthy(entry.text:lower():find("learning", 1, true) and entry.text:lower():find("rate", 1, true))
    end
    assert.same({}, help.search(""))
    assert.same({}, help.search("%d+"))
  end)

  it("tells the names of options", function()
    assert.same({ "lr", "betas", "eps", "weight_decay" }, help.option_names(plumb.optim.Adam))
    assert.same({ "bias" }, help.option_names(plumb.nn.Linear))
    local of_fit = table.concat(help.option_names(plumb.fit), " ")
    for _, name in ipairs { "loss", "optimizer", "epochs", "batch", "validate", "seed", "on_step" } do
      assert.truthy((" " .. of_fit .. " "):find(" " .. name .. " ", 1, true), of_fit)
    end
    assert.same({}, help.option_names(print))
    assert.same({ "title", "x", "width", "height" },
      docstrings.option_names('f(y, options)\noptions: title, x = 1 or "none", width and height in pixels (a, b = 2). More, words = 1.'))
  end)
end)

describe("docstrings", function()
  it("are split into a signature and what it does", function()
    local function split(text) return { docstrings.split(text) } end
    assert.same({ "f(x)", "does it." }, split("f(x): does it."))
    assert.same({ "f(x, {a = 1})", "-> y: does it." }, split("f(x, {a = 1}) -> y: does it."))
    assert.same({ "g{a = 'b: c'}", "does\nit." }, split("g{a = 'b: c'}\ndoes\nit."))
    assert.same({ "module:at(theta)", "-> f" }, split("module:at(theta) -> f"))
    assert.same({ "t.theta", "" }, split("t.theta"))
  end)

  it("keep indented lines and fill the others", function()
    assert.equal("one two\nthree\n  code  here\nfour", docstrings.wrap("one\ntwo three\n  code  here\nfour", 8))
    assert.same({ { text = "a b", code = false }, { text = "options: c", code = false } }, docstrings.paragraphs("a\nb\noptions: c"))
  end)
end)

describe("the reference", function()
  local folder, pages

  setup(function()
    folder = folders.new()
    html.write(folder .. "/a/b")
    pages = catalogue.pages()
  end)
  teardown(function() folders.remove(folder) end)

  local function read(page) return folders.read(folder .. "/a/b/" .. html.file_name(page)) end

  local function plain(text)
    return (text:gsub("<[^>]*>", ""):gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&quot;", '"'):gsub("&amp;", "&"):gsub("%s+", " "))
  end

  it("has a page for each module, and no other markup than it means to have", function()
    assert.equal(#module_names() + 4, #pages)
    for _, page in ipairs(pages) do
      local open = {}
      local text = read(page):gsub("<style>.-</style>", ""):gsub("<!DOCTYPE html>", ""):gsub("<meta[^>]*>", "")
      for slash, tag in text:gmatch("<(/?)(%w+)[^<>]*>") do
        if slash == "" then open[#open + 1] = tag else assert.equal(tag, table.remove(open), page.title) end
      end
      assert.same({}, open)
      assert.truthy(#page.entries > 0, page.title)
    end
  end)

  it("says what help says", function()
    for _, page in ipairs(pages) do
      local text = plain(read(page))
      for _, entry in ipairs(page.entries) do
        local words = entry.description:gsub("^%->", ""):gsub("^%s*%l?", ""):gsub("%s+", " "):gsub("`([^`]+)`", "%1")
        assert.truthy(text:find(plain((entry.signature:gsub("&", "&amp;"):gsub("<", "&lt;"))), 1, true), entry.signature)
        assert.truthy(text:find(words, 1, true), entry.name .. ": " .. words)
      end
    end
  end)

  it("has the methods of what is returned: figures, runs, loaders, models", function()
    local names = {}
    for _, page in ipairs(pages) do
      for _, entry in ipairs(page.entries) do names[entry.name] = page.name end
    end
    for name, page in pairs { ["figure:save"] = "plot", ["figure:show"] = "plot", ["figure:text"] = "plot", ["run:resume"] = "fit",
      ["run:watch"] = "fit", ["loader:epoch"] = "data", ["density:curve"] = "measure", ["pca:project"] = "measure",
      ["module:state_dict"] = "nn", ["linalg.eigh"] = "operators" } do assert.equal(page, names[name], name) end
    for name, method in pairs(getmetatable(plumb.plot.lines { 1 })) do
      if type(method) == "function" and not name:find("^_") then assert.equal("plot", names["figure:" .. name], name) end
    end
  end)

  it("has links that lead somewhere", function()
    local files, links = {}, 0
    for _, page in ipairs(pages) do files[html.file_name(page)] = true end
    for _, page in ipairs(pages) do
      local text, anchors = read(page), {}
      for anchor in text:gmatch('id="([^"]*)"') do
        assert.is_nil(anchors[anchor], anchor)
        anchors[anchor] = true
      end
      for link in text:gmatch('href="([^"]*)"') do
        links = links + 1
        assert.is_true(files[link] or link:sub(1, 1) == "#" and anchors[link:sub(2)] or false, link)
      end
    end
    assert.truthy(links > 100)
  end)
end)
