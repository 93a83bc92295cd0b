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
    local wide = plot.heatmap(plumb.arange(200):reshape(2, 100)):text(80)
    has(wide, " .:-=+*#%@", "from 1 to 200")
    for line in wide:gmatch("[^\n]+") do assert.is_true(#line < 80) end
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
    }
    for _, case in ipairs(cases) do support.fails_here(case[1], case[2]) end
  end)
end)
