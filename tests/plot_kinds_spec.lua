--- What each kind of plot draws, read from the svg: cells and their colours, points, labels, titles; and what it refuses.

local plumb = require "plumb"
local support = require "support"
local folders = require "folders"
local plot = plumb.plot

local folder = os.tmpname()
os.remove(folder)
plumb.core.files.make_directory(folder)

local function svg(figure)
  local path = assert(figure:save(folder .. "/figure.svg"))
  return folders.read(path)
end

local function has(bytes, ...)
  for _, part in ipairs { ... } do assert.is_truthy(bytes:find(part, 1, true), part .. " is not in the figure") end
end

local function count(bytes, pattern) return select(2, bytes:gsub(pattern, "")) end

-- The colours of the cells, in the order in which they are drawn: row by row from the top; a single row comes twice.
local function cell_colors(bytes)
  local colors = {}
  for r, g, b in bytes:gmatch("<polygon fill = 'rgb%( *(%d+), *(%d+), *(%d+)%)'") do
    colors[#colors + 1] = ("#%02X%02X%02X"):format(r, g, b)
  end
  return colors
end

local function points_of(bytes) return count(bytes, "<use xlink:href='#gpPt%d+' transform='translate%([%d.,]+%) scale") end

teardown(function() folders.remove(folder) end)

describe("points", function()
  it("carry labels, sizes and markers of their own", function()
    local bytes = svg(plot.scatter({ x = { 1, 2, 3 }, y = { 3, 1, 2 }, labels = { [2] = "half_way" }, size = { 1, 2, 3 },
      marker = "star" }))
    has(bytes, ">half_way<")
    assert.equal(3, points_of(bytes))
    local sizes = {}
    for size in bytes:gmatch("#gpPt2' transform='translate%([%d.,]+%) scale%(([%d.]+)%)") do sizes[#sizes + 1] = tonumber(size) end
    assert.equal(3, #sizes)
    assert.near(3, sizes[3] / sizes[1], 0.01)
  end)

  it("at a line's end have their labels beyond it, off the line, as far as there is room", function()
    local star = {} -- eight lines from the middle outwards, labelled at the end, then one labelled at its start
    for r = 1, 8 do
      local along, up = math.cos(r * math.pi / 4 + 0.1), math.sin(r * math.pi / 4 + 0.1)
      local reach = r % 2 == 1 and 1 or 2
      star[r] = { x = { along / 2, along * reach }, y = { up / 2, up * reach }, labels = { [2] = "end " .. r } }
    end
    star[9] = { x = { 0, 0, 0 }, y = { 0.1, 0.2, 0.3 }, labels = { "start", "between" } }
    local path = folder .. "/labels.gp"
    assert(plot.lines(star):save(path))
    local script, how = folders.read(path), {}
    for label, side in script:gmatch("set label '([%a%d ]+)' at [^\n]- noenhanced (%S+ offset char [%d.,-]+)") do how[label] = side end
    assert.same({ ["end 1"] = "center offset char 0,0.9", ["end 2"] = "center offset char 0,0.9",
      ["end 3"] = "right offset char -0.8,0", ["end 4"] = "center offset char 0,-0.9", ["end 5"] = "center offset char 0,-0.9",
      ["end 6"] = "left offset char 0.8,0", ["end 7"] = "left offset char 0.8,0", ["end 8"] = "center offset char 0,0.9",
      start = "center offset char 0,-0.9", between = "left offset char 0.8,0" }, how)
  end)

  it("take their colours from numbers, with a bar that explains them", function()
    local bytes = svg(plot.scatter({ x = { 1, 2, 3 }, y = { 3, 1, 2 }, color = { 5, 7, 9 } }, { zlabel = "epoch" }))
    has(bytes, ">epoch<", "color='rgb( 68,   1,  84)'", "color='rgb( 33, 145, 140)'", "color='rgb(253, 231,  37)'")
  end)

  it("fall into groups, each with a name, a colour and a marker", function()
    local figure = plot.scatter({ x = { 1, 2, 3, 4 }, y = { 1, 2, 3, 4 }, group = { "run b", "run a", "run b", 7 },
      labels = { [3] = "the third" } })
    local bytes = svg(figure)
    has(bytes, ">run b<", ">run a<", ">7<", ">the third<")
    assert.equal(4 + 3, points_of(bytes)) -- the legend has one for each group
    for k, color in ipairs { "  0, 114, 178", "230, 159,   0", "  0,  87,  63" } do
      local marker = ({ "gpPt6", "gpPt4", "gpPt8" })[k] -- disc, square, triangle
      assert.equal(k == 1 and 3 or 2, count(bytes, "#" .. marker .. "' transform='[^']*' color='rgb%(" .. color), color)
    end
    has(svg(plot.scatter{ x = { 1, 2 }, y = { 1, 2 }, group = plumb.tensor({ 1, 2 }, { dtype = "int64" }) }), ">1<", ">2<")
  end)

  it("that cannot be drawn are left out, with their colour or label", function()
    local figure = plot.scatter({ x = { 1, 2, 3 }, y = { 3, 0 / 0, 2 }, color = { 1, 2, math.huge }, labels = { "a", "b", "c" } })
    local bytes = svg(figure)
    assert.equal(1, points_of(bytes))
    has(bytes, ">a<")
    assert.is_nil(bytes:find(">b<", 1, true))
    has(table.concat(figure:notes(), "; "), "2 of 3 points left out")
  end)
end)

describe("plot.lines", function()
  it("has ticks at whole numbers only, where all values are such", function()
    local function ticks(figure)
      figure:save(folder .. "/ticks.gp")
      return folders.read(folder .. "/ticks.gp"):match("set (%l+tics 1)\n")
    end
    assert.equal("xtics 1", ticks(plot.lines { 0.5, 2.5 }))
    assert.equal("ytics 1", ticks(plot.lines({ 0.5, 1.25 }, { 1, 2 })))
    assert.is_nil(ticks(plot.lines({ 0.5, 1.25 }, { 1, 20 })))
    assert.is_nil(ticks(plot.lines({ 0.5, 1.25 }, { 1, 2 }, { logy = true })))
    assert.is_nil(ticks(plot.lines({ 0.5, 1.25 }, { 1, 1 }, { yrange = { 0.9, 1.1 } }))) -- one tick would be too few
    local drawn = plot.lines({ 0.5, 2.5 }, { xlabel = "epoch" }):text(60)
    assert.equal("1 2", drawn:match("%+%-+%+\n(.-)\n"):gsub("^%s+", ""):gsub("%s+", " "))
  end)

  it("draws whole numbers as large as they come", function()
    has(svg(plot.scatter({ math.maxinteger, math.mininteger }, { 1, 2 })), "</svg>")
  end)

  it("draws a second y axis with a label and a scale of its own", function()
    local bytes = svg(plot.lines({ { name = "loss", y = { 1, 2 } }, { name = "rate", y = { 1, 1e6 }, axis = 2 } },
      { ylabel = "the left", y2label = "the right", logy2 = true }))
    has(bytes, ">the left<", ">the right<", ">rate (right axis)<", ">loss<")
  end)

  it("draws the losses of runs, the test losses dashed", function()
    local class = { __name = "plumb.Run" }
    local one = setmetatable({ train_loss = { 3, 2, 1 }, test_loss = { 4, 3, 2 } }, class)
    local two = setmetatable({ train_loss = { 5, 4, 3 }, test_loss = {} }, class)
    has(svg(plot.lines(one)), ">training<", ">test<")
    local bytes = svg(plot.lines { adam = one, sgd = two })
    has(bytes, ">adam, training<", ">adam, test<", ">sgd, training<")
    assert.is_nil(bytes:find("sgd, test", 1, true))
    has(svg(plot.lines { one, two }), ">run 1, test<", ">run 2, training<")
  end)

  it("takes a column of a matrix as it comes out of a model", function()
    assert.equal(3, points_of(svg(plot.lines(plumb.tensor { { 1 }, { 2 }, { 3 } }))))
  end)
end)

describe("plot.heatmap", function()
  it("colours every cell and writes labels and numbers", function()
    local bytes = svg(plot.heatmap({ { 1, 2, 3 }, { 4, 5, 9 } }, { numbers = true, row_labels = { "cat_1", "`dog`" },
      column_labels = { "x", "y", "z" }, title = "matrix", xlabel = "predicted", ylabel = "true", zlabel = "count" }))
    has(bytes, ">cat_1<", ">`dog`<", ">x<", ">z<", ">matrix<", ">predicted<", ">true<", ">count<", ">9<", ">5<")
    local colors = cell_colors(bytes)
    assert.same({ "#440154", "#472D7B", "#3B528B", "#2C728E", "#21918C", "#FDE725" }, { table.unpack(colors, 1, 6) })
    has(svg(plot.heatmap({ { 0.5, 2 } }, { numbers = "%.2f s" })), ">0.50 s<", ">2.00 s<")
  end)

  it("has a log scale, a range, and maps around zero or in grey", function()
    local log = cell_colors(svg(plot.heatmap({ { 1, 10, 100 } }, { logz = true, colorbar = false })))
    assert.same({ "#440154", "#21918C", "#FDE725" }, { table.unpack(log, 1, 3) })
    assert.equal(6, #log)
    local ranged = cell_colors(svg(plot.heatmap({ { -5, 0, 5 } }, { zrange = { 0, 10 }, colors = "gray", colorbar = false })))
    assert.same({ "#000000", "#000000", "#808080" }, { table.unpack(ranged, 1, 3) })
    local diverging = cell_colors(svg(plot.heatmap({ { 0, 2, -4 } }, { colors = "diverging", colorbar = false })))
    assert.equal("#F7F7F7", diverging[1])
    assert.equal("#053B6E", diverging[3])
  end)

  it("leaves cells out that are not finite or not positive", function()
    local figure = plot.heatmap({ { 1, 0 / 0, 3 }, { math.huge, 0, -1 } }, { logz = true, colorbar = false, numbers = true })
    local bytes = svg(figure)
    assert.same({ "#440154", "#FDE725" }, cell_colors(bytes))
    has(table.concat(figure:notes()), "4 of 6 cells left out")
    has(svg(plot.heatmap { { 0 / 0 } }), "no finite data")
  end)

  it("shows a large matrix as means of blocks", function()
    local figure = plot.heatmap(plumb.arange(2000):reshape(1000, 2), {})
    has(table.concat(figure:notes()), "the mean of a block of 2 x 1")
    figure:save(folder .. "/large.gp")
    has(folders.read(folder .. "/large.gp"), "\n2 3\n6 7\n", "\n1998 1999\nEOD")
  end)

  it("is a table of numbers in text where that fits, and shades where not", function()
    local drawn = plot.heatmap({ { 1, 25 }, { 3, 4 } }, { row_labels = { "up", "down" }, column_labels = { "a", "b" },
      title = "t" }):text(80)
    assert.equal("t\n        a   b\n  up    1  25\ndown    3   4\n", drawn)
    assert.equal("         1       2\n1     1125  -70000\n", plot.heatmap({ { 1125, -70000 } }):text(80))
    assert.equal("        1      2\n1   1e+06    0.5\n", plot.heatmap({ { 1e6, 0.5 } }):text(80))
    local wide = plot.heatmap(plumb.arange(200):reshape(2, 100)):text(80)
    has(wide, " .:-=+*#%@", "from 1 to 200")
    for line in wide:gmatch("[^\n]+") do assert.is_true(#line < 80) end
    has(plot.heatmap(plumb.ones(1030, 5), { ylabel = "unit", colors = "gray" }):text(80), "down: unit from 1 to 1030\n",
      "across: columns from 1 to 5\n")
    local labelled = plot.heatmap(plumb.ones(2, 50), { row_labels = { "up", "low" }, xlabel = "input", zlabel = "weight" })
    has(labelled:text(80), "down: rows from up to low\n", "across: input from 1 to 50\n", 'weight: " .:')
    has(plot.heatmap({ { 1 } }, { zlabel = "images" }):text(80), "numbers: images\n")
    assert.equal(" @", plot.heatmap(plumb.tensor { { 0, 1 } }, { numbers = "%.40f" }):text(40):match("|(.-)|"):gsub("(.)%1", "%1"))
  end)
end)

describe("plot.images", function()
  it("draws every pixel of every image, with titles", function()
    local x = plumb.zeros(3, 1, 4, 4)
    x[2] = 1
    local bytes = svg(plot.images(x, { titles = { "zero", "one & a half", "7 → 1" } }))
    has(bytes, ">zero<", ">one &amp; a half<", ">7 → 1<")
    local black, white = 0, 0
    for _, color in ipairs(cell_colors(bytes)) do
      if color == "#000000" then black = black + 1 elseif color == "#FFFFFF" then white = white + 1 end
    end
    assert.same({ 32, 16 }, { black, white })
  end)

  it("takes tensors of three and four axes, lists, colours, and single images", function()
    for _, images in ipairs { plumb.rand(5, 6, 6), plumb.rand(5, 1, 6, 6), { plumb.rand(6, 6), plumb.rand(1, 3, 9):tolist() } } do
      has(svg(plot.images(images)), "<polygon")
    end
    plot.images({ plumb.tensor { { { 1 } }, { { 0 } }, { { 0.5 } } } }):save(folder .. "/rgb.gp")
    has(folders.read(folder .. "/rgb.gp"), "\n1 1 255 0 128\nEOD", "with rgbimage")
    has(svg(plot.images(plumb.rand(1, 3, 2, 2))), "</svg>")
    assert.equal(4, #cell_colors(svg(plot.image { { 1, 2 }, { 3, 4 } })))
  end)

  it("keeps brightness from 0 to 1 and from 0 to 255, and stretches the rest", function()
    local function colors(row, options) return { table.unpack(cell_colors(svg(plot.image({ row, row }, options))), 1, 2) } end
    assert.same({ "#808080", "#808080" }, colors { 0.5, 0.5 })
    assert.same({ "#404040", "#808080" }, colors { 64, 128 })
    assert.same({ "#000000", "#FFFFFF" }, colors { -3, 7 })
    assert.same({ "#808080", "#FFFFFF" }, colors({ 1, 7 }, { zrange = { -1, 3 } }))
  end)

  it("shows at most a hundred, without computing the others", function()
    local figure = plot.images(plumb.zeros(30000, 28, 28))
    has(table.concat(figure:notes()), "the first 100 of 30000 images are shown")
  end)

  it("draws images in text, too", function()
    local x = plumb.zeros(2, 8, 8)
    x[2] = 1
    local drawn = plot.images(x, { titles = { "dark", "light" } }):text(60)
    has(drawn, "dark", "light", ("@"):rep(24))
    local _, lines = drawn:gsub(("@"):rep(24), "")
    assert.equal(12, lines)
    has(plot.image({ { -1, 0 }, { 1, 0 } }, { zlabel = "weight", colorbar = true, colors = "diverging", xlabel = "column",
      ylabel = "row" }):text(60), 'weight: " .:-=+*#%@" from -1 to 1\ndown: row\nacross: column\n')
  end)
end)

describe("plot(...)", function()
  local function rows(figure)
    figure:save(folder .. "/a.gp")
    return folders.read(folder .. "/a.gp")
  end

  it("takes y, x and y, or x and named series, with options behind", function()
    has(rows(plot({ 4, 5 })), "\n1 4\n2 5\n")
    has(rows(plot({ 4, 5 }, { title = "t", xrange = { 0, 9 } })), "\n1 4\n2 5\n", "set xrange [0:9]")
    has(rows(plot({ 7, 8 }, { 4, 5 })), "\n7 4\n8 5\n")
    has(rows(plot(plumb.tensor { 7, 8 }, plumb.tensor { 4, 5 }, { title = "t" })), "\n7 4\n8 5\n", "title 't'")
    has(rows(plot({ 7, 8 }, { a = { 4, 5 }, b = { 6, 3 } })), "\n7 4\n8 5\n", "\n7 6\n8 3\n")
    has(rows(plot({ 7, 8 }, { { y = { 4, 5 }, name = "n" } })), "\n7 4\n8 5\n")
    has(rows(plot.scatter({ 7, 8 }, { 4, 5 })), "\n7 4\n8 5\n", "with points")
  end)

  it("shows a run with its accuracies", function()
    local model = plumb.nn.Sequential { plumb.nn.Linear(2, 2) }
    local set = { x = plumb.randn(8, 2), y = plumb.randint(1, 2, { 8 }) }
    local run = plumb.fit(model, set, { loss = plumb.nn.CrossEntropyLoss(), optimizer = plumb.optim.SGD { lr = 0.1 }, epochs = 3,
      validate = set, progress = false })
    local figure = plot(run)
    assert.equal(2, #figure.panels)
    has(svg(figure), ">loss<", ">accuracy<", ">training<", ">test<", ">epoch<")
    assert.equal(1, #plot(setmetatable({ train_loss = { 1 }, test_loss = {}, train_accuracy = {} }, getmetatable(run))).panels)
    has(svg(plot.lines { sgd = run }), ">sgd, training<")
  end)
end)

describe("direct labels", function()
  it("stand in order beside the ends of the lines, none upon another", function()
    local bytes = svg(plot.lines({ a = { 1, 2, 3 }, b = { 3, 2, 2.95 }, c = { 3, 2, 0 } }))
    local height = {}
    for y, name in bytes:gmatch('<g transform="translate%([%d.]+,([%d.]+)%)"[^>]*>%s*<text>([abc])</text>') do
      height[name] = tonumber(y)
    end
    assert.is_true(height.a + 15 < height.b and height.b + 15 < height.c)
  end)

  it("give way to a legend where the ends are too close, and come when asked for", function()
    local same = { a = { 1, 2 }, b = { 1.1, 2 }, c = { 1.2, 2 }, d = { 1.3, 2 } }
    plot.lines(same):save(folder .. "/a.gp")
    assert.is_nil(folders.read(folder .. "/a.gp"):find("set arrow", 1, true))
    plot.lines(same, { legend = "direct" }):save(folder .. "/a.gp")
    assert.equal(4, count(folders.read(folder .. "/a.gp"), "set arrow"))
  end)
end)

describe("plot.histogram", function()
  local function bars(...)
    local list = {}
    plot.histogram(...):save(folder .. "/a.gp")
    for row in folders.read(folder .. "/a.gp"):match("<< EOD\n(.-)EOD"):gmatch("[^\n]+") do
      local x, height, left, right = row:match("(%S+) (%S+) (%S+) (%S+)")
      list[#list + 1] = { left = tonumber(left), right = tonumber(right), height = tonumber(height) }
      assert.near((left + right) / 2, tonumber(x), 1e-6)
    end
    return list
  end

  it("counts into bins that hold their lower edge, the last one both", function()
    local made = bars({ 0, 1, 1.5, 2, 2, 4 }, { bins = 4 })
    assert.same({ { left = 0, right = 1, height = 1 }, { left = 1, right = 2, height = 2 }, { left = 2, right = 3, height = 2 },
      { left = 3, right = 4, height = 1 } }, made)
    assert.same({ { left = -1, right = 0.5, height = 1 }, { left = 0.5, right = 2, height = 3 } },
      bars({ 0, 1, 1, 2, 5, 7 }, { bins = { -1, 0.5, 2 } }))
  end)

  it("gives whole numbers a bin each, and other numbers sensible ones", function()
    assert.same({ { left = 0.5, right = 1.5, height = 2 }, { left = 2.5, right = 3.5, height = 1 } }, bars { 1, 3, 1 })
    local many = bars(plumb.randn({ 100, 100 }, { seed = 3 }))
    assert.is_true(#many > 20 and #many <= 100, #many .. " bins")
    local total = 0
    for _, bar in ipairs(many) do total = total + bar.height end
    assert.equal(10000, total)
    assert.same({ { left = 4.5, right = 5.5, height = 3 } }, bars { 5, 5, 5 })
    assert.equal(1, #bars { 0.25, 0.25 })
  end)

  it("has an area of 1 as a density, also in log bins", function()
    for _, log in ipairs { false, true } do
      local area = 0
      for _, bar in ipairs(bars(plumb.rand({ 1000 }, { seed = 1 }), { density = true, logx = log })) do
        area = area + bar.height * (bar.right - bar.left)
      end
      assert.near(1, area, 1e-6)
    end
  end)

  it("draws a box for each bar, names samples, and tells what it left out", function()
    local figure = plot.histogram({ before = { 1, 1, 2, 0 / 0 }, after = { 2, 3 } }, { xlabel = "label" })
    local bytes = svg(figure)
    has(bytes, ">before<", ">after<", ">count<", ">label<")
    assert.equal(2 * (2 + 1), count(bytes, "fill%-opacity = '0.35")) -- two bars and an entry of the legend each
    has(table.concat(figure:notes()), "sample 'before': 1 of 4 values are not finite or in no bin")
    has(svg(plot.histogram { 0 / 0 }), "no finite data")
    has(svg(plot.histogram(plumb.zeros(0))), "no finite data")
  end)
end)

describe("plot.contour", function()
  local function bowl(n)
    local z = {}
    for r = 1, n do
      z[r] = {}
      for c = 1, n do z[r][c] = ((r - 1) / (n - 1) * 2 - 1) ^ 2 + ((c - 1) / (n - 1) * 2 - 1) ^ 2 end
    end
    return z
  end

  it("draws lines of equal height: circles of x^2 + y^2", function()
    local axis = plumb.linspace(-1, 1, 41)
    plot.contour(bowl(41), { x = axis, y = axis, levels = { 0.25, 0.81, 7 } }):save(folder .. "/a.gp")
    local script = folders.read(folder .. "/a.gp")
    has(script, "levels discrete 0.25,0.81\n")
    local lines = script:gsub("plot \\.*", 'set print "-"\nprint $panel1_field_lines\n'):gsub("\nset output [^\n]*", "")
    local result = plumb.core.process.run({ "gnuplot", "-d", "-" }, { stdin = lines })
    local points = 0
    for x, y, level in result.stdout:gmatch("\n%s*([-%d.e]+)%s+([-%d.e]+)%s+([%d.]+)") do
      assert.near(tonumber(level), x ^ 2 + y ^ 2, 0.003)
      points = points + 1
    end
    assert.is_true(points > 100, points .. " points")
  end)

  it("labels the lines and draws series over them", function()
    local bytes = svg(plot.contour(bowl(21), { levels = { 0.5 }, xlabel = "x", zlabel = "loss", title = "bowl",
      series = { descent = { x = { 2, 5, 9 }, y = { 3, 6, 9 }, labels = { "start" } } } }))
    has(bytes, ">0.5<", ">descent<", ">start<", ">bowl<", ">loss<", "<image", "color='rgb(213,  94,   0)'")
  end)

  it("shows series in text as letters at their places, on an even grid", function()
    local x = { 1, 2, 4, 8, 16 } -- uneven
    local field = {}
    for r = 1, 3 do field[r] = { 1, 2, 4, 8, 16 } end
    local drawn = plot.contour(field, { x = x, series = { path = { x = { 1, 8.5, 16, 99, 0 / 0 }, y = { 1, 2, 3, 1, 1 } },
      other = { x = { 1 }, y = { 3 } } } }):text(80)
    local lines = {}
    for line in drawn:gmatch("|([^\n]*)|") do lines[#lines + 1] = line end
    assert.equal(1, lines[#lines]:find("B", 1, true))
    assert.near(39, lines[#lines // 2]:find("B", 1, true) or lines[#lines // 2 + 1]:find("B", 1, true), 1)
    assert.same({ 77, 1 }, { lines[1]:find("B", 1, true), (lines[1]:find("A", 1, true)) })
    assert.equal(3, count(table.concat(lines), "B"))
    has(drawn, "A other   B path")
    local middle = lines[3] -- the value is x: its shades are even
    assert.near(39, middle:find("[+*]"), 5)
  end)

  it("puts x and y right side up, rising or falling", function()
    local map = plot.contour({ { 0, 0 }, { 0, 1 } }):text(60) -- z is 1 at x = 2, y = 2: top right
    local first, last = map:match("%-%+\n|(.-)|\n"), map:match(".*\n|(.-)|\n")
    assert.equal("@", first:sub(-1))
    assert.equal(" ", first:sub(1, 1))
    assert.equal(" ", last:sub(-1))
    local flipped = plot.contour({ { 0, 0 }, { 0, 1 } }, { x = { 2, 1 }, y = { 5, 4 } }):text(60)
    assert.equal("@", flipped:match(".*\n|(.-)|\n"):sub(1, 1))
    has(flipped, "up: y from 4 to 5", "across: x from 1 to 2")
  end)
end)

describe("plot.surface", function()
  it("draws a face for each cell, coloured by its height", function()
    local bytes = svg(plot.surface({ { 0, 1, 2 }, { 1, 2, 3 }, { 2, 3, 4 } }, { title = "plane", zlabel = "height", xlabel = "x",
      colorbar = false }))
    has(bytes, ">plane<", ">height<", ">x<")
    assert.equal(4, #cell_colors(bytes))
  end)

  it("leaves holes where the field is not finite", function()
    local figure = plot.surface { { 0, 1, 2 }, { 1, 0 / 0, 3 }, { 2, 3, 4 } }
    svg(figure)
    has(table.concat(figure:notes()), "1 of 9 cells left out")
    has(svg(plot.surface { { 0 / 0, 0 / 0 }, { 0 / 0, 0 / 0 } }), "no finite data")
  end)
end)

describe("every kind of plot", function()
  it("says what is wrong with bad input, and where", function()
    local cases = {
      { function() plot.heatmap(3) end, "expected a matrix" },
      { function() plot.heatmap { 1, 2 } end, "its row 1 is a number" },
      { function() plot.heatmap { { 1, 2 }, { 3 } } end, "row 2 has 1 values, but row 1 has 2" },
      { function() plot.heatmap { { 1, "x" } } end, "its element [1][2] is a string" },
      { function() plot.heatmap {} end, "the matrix is empty" },
      { function() plot.heatmap(plumb.zeros(2, 2, 2)) end, "expected a matrix" },
      { function() plot.heatmap({ { 1 } }, { row_labels = { "a", "b" } }) end, "row_labels has 2 texts, but there are 1" },
      { function() plot.heatmap({ { 1 } }, { numbers = "%s" }) end, "a format of one number" },
      { function() plot.heatmap({ { 1 } }, { numbers = "%f%f" }) end, "a format of one number" },
      { function() plot.heatmap({ { 1 } }, { numbers = 7 }) end, "a format of one number" },
      { function() plot.heatmap({ { 1 } }, { colors = "jet" }) end, '"sequential", "diverging" or "gray"' },
      { function() plot.heatmap({ { 1 } }, { zrange = { -1, 1 }, logz = true }) end, "above 0" },
      { function() plot.images(plumb.zeros(2, 2)) end, "plot.image draws a single image" },
      { function() plot.images(plumb.zeros(2, 2, 4, 4)) end, "has 2 channels" },
      { function() plot.images(plumb.zeros(0, 4, 4)) end, "there are no images" },
      { function() plot.images({ plumb.zeros(4, 4), "x" }) end, "image 2" },
      { function() plot.images("x") end, "not a string" },
      { function() plot.images(plumb.zeros(1, 4, 4), { titles = { "a", "b" } }) end, "titles has 2 texts" },
      { function() plot.images(plumb.zeros(1, 4, 4), { columns = 0 }) end, "a whole number above 0" },
      { function() plot.image(plumb.zeros(4)) end, "an image is" },
      { function() plot.scatter { y = { 1, 2 }, group = { 1 } } end, "group has 1 values, but y has 2" },
      { function() plot.scatter { y = { 1 }, group = { {} } } end, "group[1] must be a text or a number" },
      { function() plot.scatter { y = { 1 }, labels = "x" } end, "labels must be a table" },
      { function() plot.scatter { y = { 1 }, labels = { "x", "y" } } end, "the points are numbered from 1 to 1" },
      { function() plot.scatter { y = { 1, 2 }, size = { 1, -1 } } end, "size[2] must be" },
      { function() plot.scatter { y = { 1, 2 }, color = { 1 } } end, "color has 1 values" },
      { function() plot.scatter { y = { 1 }, marker = "smiley" } end, "marker must be an index" },
      { function() plot.scatter { y = { 1 }, color = "red" } end, "color must be" },
      { function() plot() end, "not a nil" },
      { function() plot({ 1, 2 }, { 1, 2, 3 }) end, "x has 2 values, but y has 3" },
      { function() plot({ 1, 2 }, { 1, 2 }, 7) end, "options must be a table" },
      { function() plot({ 1, 2 }, { 1, 2 }, { x = { 1, 2 } }) end, "x is given twice" },
      { function() plot({ 1, 2 }, 7) end, "options must be a table" },
      { function() plot.run { 1 } end, "expected a run" },
      { function() plot.binned({ y = { 1, 2 } }, 0) end, "bins must be a number of at least 1" },
      { function() plot.binned { y = "x" } end, "y is a string" },
      { function() plot.figure { panels = { nil, plot.lines { 1 } } } end, "panels[1] must be a figure" },
      { function() plot.histogram({ 1 }, { bins = 0 }) end, "bins must be a whole number" },
      { function() plot.histogram({ 1 }, { bins = { 1 } }) end, "at least two edges" },
      { function() plot.histogram({ 1 }, { bins = { 1, 1 } }) end, "must rise" },
      { function() plot.histogram("x") end, "not a string" },
      { function() plot.histogram { a = { "x" } } end, "sample a[1] is a string" },
      { function() plot.surface { { 1, 2 } } end, "at least 2 x 2" },
      { function() plot.contour({ { 1, 2 }, { 3, 4 } }, { x = { 1 } }) end, "x has 1 values, but the matrix has 2 columns" },
      { function() plot.contour({ { 1, 2 }, { 3, 4 } }, { y = { 1, 1 } }) end, "rise or fall" },
      { function() plot.contour({ { 1, 2 }, { 3, 4 } }, { levels = 0 }) end, "levels must be" },
      { function() plot.contour({ { 1, 2 }, { 3, 4 } }, { series = "x" }) end, "option series" },
      { function() plot.surface({ { 1, 2 }, { 3, 4 } }, { azimuth = 0 / 0 }) end, "azimuth must be a finite number" },
    }
    for _, case in ipairs(cases) do support.fails_here(case[1], case[2]) end
  end)
end)
