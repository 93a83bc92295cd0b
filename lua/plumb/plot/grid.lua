--- Panels of coloured cells: heat maps of matrices, and images side by side.
--
-- A panel of cells is {kind = "cells", options, cells, rows, columns, shade, map, notes}: cells[r][c] is a number (NaN where
-- there is nothing to show), row 1 stands at the top, shade is the axis of the colours and map the name of a colour map;
-- height and width are those of the matrix or of the largest image.
-- A panel of images has {places, titles} too, and for colour images cells[r][c] = {red, green, blue} from 0 to 255.

local report = require "plumb.report"
local core = require "plumb.core"
local panel = require "plumb.plot.panel"
local is_drawable = require("plumb.plot.options").is_drawable
local text = require "plumb.plot.text"

local grid = {}

local fail = report.fail

local NAN = 0 / 0
local MOST_CELLS_ACROSS = 512 -- finer than a figure shows
local MOST_IMAGES = 100

-- ---- matrices --------------------------------------------------------------------------------------------------

local function nested_lists(value, where, expected)
  if core.is_tensor(value) or type(value) == "table" and type(value.tolist) == "function" then value = value:tolist() end
  if type(value) ~= "table" then fail("%s: expected %s, not a %s", where, expected, type(value)) end
  return value
end

--- grid.matrix(value, where): rows of numbers from a tensor of two axes or a list of lists.
function grid.matrix(value, where)
  local expected = "a matrix (a tensor of two axes, or a list of lists of one length)"
  local rows = nested_lists(value, where, expected)
  local matrix = {}
  for r = 1, #rows do
    local row = rows[r]
    if type(row) ~= "table" and not core.is_tensor(row) then
      fail("%s: expected %s; its row %d is a %s", where, expected, r, type(row))
    end
    row = nested_lists(row, where, expected)
    if #row ~= #(matrix[1] or row) then
      fail("%s: row %d has %d values, but row 1 has %d", where, r, #row, #matrix[1])
    end
    matrix[r] = {}
    for c = 1, #row do
      if type(row[c]) ~= "number" then
        fail("%s: expected %s; its element [%d][%d] is a %s", where, expected, r, c, type(row[c]))
      end
      matrix[r][c] = row[c] + 0.0
    end
  end
  if #matrix == 0 or #matrix[1] == 0 then fail("%s: the matrix is empty", where) end
  return matrix
end

-- The mean of what can be shown among the cells of one block.
local function block_mean(matrix, top, left, height, width, log)
  local sum, count = 0, 0
  for r = top, math.min(top + height - 1, #matrix) do
    for c = left, math.min(left + width - 1, #matrix[r]) do
      if is_drawable(matrix[r][c], log) then sum, count = sum + matrix[r][c], count + 1 end
    end
  end
  return count > 0 and sum / count or NAN
end

--- grid.coarse(matrix, log, notes): the matrix, or the means of its blocks where it is finer than a figure shows. Also
--- returns the height and width of a block.
function grid.coarse(matrix, log, notes)
  local height = math.ceil(#matrix / MOST_CELLS_ACROSS)
  local width = math.ceil(#matrix[1] / MOST_CELLS_ACROSS)
  if height == 1 and width == 1 then return matrix, 1, 1 end
  local coarse = {}
  for top = 1, #matrix, height do
    local row = {}
    for left = 1, #matrix[1], width do row[#row + 1] = block_mean(matrix, top, left, height, width, log) end
    coarse[#coarse + 1] = row
  end
  notes[#notes + 1] = ("each cell shown is the mean of a block of %d x %d"):format(height, width)
  return coarse, height, width
end

--- grid.erase(matrix, log, notes): cells that can't be drawn become NaN; a note tells how many. Returns how many remain.
function grid.erase(matrix, log, notes)
  local drawable, all = 0, #matrix * #matrix[1]
  for _, row in ipairs(matrix) do
    for c, value in ipairs(row) do
      if is_drawable(value, log) then drawable = drawable + 1 else row[c] = NAN end
    end
  end
  if drawable == 0 then
    notes[#notes + 1] = "no finite data: the panel is empty"
  elseif drawable < all then
    notes[#notes + 1] = ("%d of %d cells left out (not finite%s)"):format(all - drawable, all,
      log and ", or not above 0 on a log scale" or "")
  end
  return drawable
end

local function visit_cells(cells)
  return function(see)
    for _, row in ipairs(cells) do
      for _, value in ipairs(row) do
        if value == value then see(value) end
      end
    end
  end
end

local function center(shade)
  local most = math.max(math.abs(shade.lo), math.abs(shade.hi))
  shade.lo, shade.hi = -most, most
end

--- grid.shade(cells, options, map): the axis of the colours; a diverging map has its middle at 0 unless a range is given.
function grid.shade(cells, options, map)
  local shade = panel.axis(visit_cells(cells), options.logz, 0, options.zrange)
  if shade and map == "diverging" and not options.zrange and not options.logz then center(shade) end
  return shade
end

-- ---- heat maps -------------------------------------------------------------------------------------------------

local function check_labels(labels, count, where)
  if labels == nil then return nil end
  if #labels ~= count then fail("%s has %d texts, but there are %d", where, #labels, count) end
  local copy = {}
  for i, label in ipairs(labels) do copy[i] = (text.clean(label):gsub("\n", " ")) end
  return copy
end

-- Whole numbers, counts say, are written out.
local function number_format(matrix)
  for _, row in ipairs(matrix) do
    for _, value in ipairs(row) do
      if value == value and (value % 1 ~= 0 or math.abs(value) >= 1e6) then return "%.3g" end
    end
  end
  return "%.0f"
end

-- true, or a format of one number such as "%.2f".
local function check_numbers(numbers, matrix, who)
  if numbers == nil or numbers == false then return nil end
  if numbers == true then return number_format(matrix) end
  local specification = type(numbers) == "string" and numbers:gsub("%%%%", "") or ""
  local _, count = specification:gsub("%%", "")
  if count ~= 1 or not specification:find("%%[-+ #0]*%d?%d?%.?%d?%d?[eEfgG]") or not pcall(string.format, numbers, 1.0) then
    fail('%s: option numbers must be true, or a format of one number such as "%%.2f"', who)
  end
  return numbers
end

--- grid.heatmap(value, options, who): the panel of plot.heatmap; the options are checked but for their lengths.
function grid.heatmap(value, options, who)
  local matrix = grid.matrix(value, who)
  local made = { kind = "cells", options = options, notes = {}, map = options.colors or "sequential" }
  made.height, made.width = #matrix, #matrix[1]
  made.row_labels = check_labels(options.row_labels, #matrix, who .. ": option row_labels")
  made.column_labels = check_labels(options.column_labels, #matrix[1], who .. ": option column_labels")
  made.numbers = check_numbers(options.numbers, matrix, who)
  made.format = made.numbers or number_format(matrix) -- of a table of characters
  made.cells, made.row_step, made.column_step = grid.coarse(matrix, options.logz, made.notes)
  if made.cells ~= matrix then made.row_labels, made.column_labels, made.numbers = nil, nil, nil end
  made.rows, made.columns = #made.cells, #made.cells[1]
  grid.erase(made.cells, options.logz, made.notes)
  made.shade = grid.shade(made.cells, options, made.map)
  return made
end

-- ---- images ----------------------------------------------------------------------------------------------------

-- How deep lists are nested; false where it is no list of numbers at the bottom.
local function depth(value)
  local levels = 0
  while type(value) == "table" and levels < 4 do
    value, levels = value[1], levels + 1
  end
  return type(value) == "number" and levels
end

-- One image as a list of planes: one of grey, or red, green and blue.
local function planes(value, where)
  if core.is_tensor(value) then value = value:tolist() end
  local levels = type(value) == "table" and depth(value)
  local expected = "an image is (height, width), (1, height, width) or (3, height, width)"
  if levels == 2 then value = { value }
  elseif levels ~= 3 then fail("%s: %s", where, expected)
  elseif #value ~= 1 and #value ~= 3 then fail("%s has %d channels; %s", where, #value, expected) end
  local made = {}
  for k = 1, #value do
    made[k] = grid.matrix(value[k], where)
    if #made[k] ~= #made[1] or #made[k][1] ~= #made[1][1] then fail("%s: its channels differ in size", where) end
  end
  if #made[1] > 2 * MOST_CELLS_ACROSS or #made[1][1] > 2 * MOST_CELLS_ACROSS then
    fail("%s has %d x %d pixels; at most %d each way can be drawn", where, #made[1], #made[1][1], 2 * MOST_CELLS_ACROSS)
  end
  return made
end

-- The first MOST_IMAGES images of a tensor (n, height, width) or (n, channels, height, width), or of a list of images.
local function list_images(value, who, notes)
  local count
  if core.is_tensor(value) then
    local axes = value:dim()
    if axes ~= 3 and axes ~= 4 then
      fail("%s: expected images as a tensor (n, height, width) or (n, channels, height, width) or a list of tensors, not one "
        .. "of %d axes%s", who, axes, axes == 2 and " (plot.image draws a single image)" or "")
    end
    count = value:size(1)
    if count > MOST_IMAGES then value = value:slice(1, 1, MOST_IMAGES) end
    value = value:tolist()
  elseif type(value) == "table" then
    count = #value
    value = table.move(value, 1, math.min(count, MOST_IMAGES), 1, {})
  else
    fail("%s: expected a tensor of images, or a list of them, not a %s", who, type(value))
  end
  if count == 0 then fail("%s: there are no images", who) end
  if count > MOST_IMAGES then notes[#notes + 1] = ("the first %d of %d images are shown"):format(MOST_IMAGES, count) end
  for i = 1, #value do value[i] = planes(value[i], ("%s: image %d"):format(who, i)) end
  return value, count
end

local function visit_images(images)
  return function(see)
    for _, image in ipairs(images) do
      for _, plane in ipairs(image) do
        for _, row in ipairs(plane) do
          for _, value in ipairs(row) do
            if is_drawable(value) then see(value) end
          end
        end
      end
    end
  end
end

-- Brightness from 0 to 1, and whole numbers from 0 to 255, keep their meaning, so that a dim image looks dim; other values
-- are shown from their least to their largest.
local function brightness(images, options, map)
  local shade = panel.axis(visit_images(images), nil, 0, options.zrange)
  if not shade or options.zrange then return shade end
  local lo, hi, whole = math.huge, -math.huge, true
  visit_images(images)(function(value) lo, hi, whole = math.min(lo, value), math.max(hi, value), whole and value % 1 == 0 end)
  if map == "diverging" then
    center(shade)
  elseif lo >= 0 and hi <= 1 then
    shade.lo, shade.hi = 0, 1
  elseif lo >= 0 and hi <= 255 and whole then
    shade.lo, shade.hi = 0, 255
  end
  return shade
end

-- Copies one image into the mosaic, whose other cells stay empty.
local function paste(cells, image, top, left, shade, in_color)
  for r, row in ipairs(image[1]) do
    for c in ipairs(row) do
      local value = image[1][r][c]
      if in_color then
        local rgb = {}
        for k = 1, 3 do
          local part = (image[k] or image[1])[r][c]
          rgb[k] = math.floor(255 * math.max(0, math.min(1, (part - shade.lo) / (shade.hi - shade.lo))) + 0.5)
        end
        value = rgb
      elseif is_drawable(value) then
        value = math.max(shade.lo, math.min(shade.hi, value))
      else
        value = NAN
      end
      cells[top + r - 1][left + c - 1] = value
    end
  end
end

local function empty_cells(rows, columns)
  local cells = {}
  for r = 1, rows do
    cells[r] = {}
    for c = 1, columns do cells[r][c] = NAN end
  end
  return cells
end

local function lay_out(made, images, in_color, has_titles)
  local height, width = 1, 1
  for _, image in ipairs(images) do height, width = math.max(height, #image[1]), math.max(width, #image[1][1]) end
  local across = math.min(made.options.columns or math.ceil(math.sqrt(1.6 * #images)), #images)
  local gap = math.max(1, math.max(height, width) // 14)
  local step_down, step_right = height + (has_titles and math.max(gap, height // 4) or gap), width + gap
  made.columns = across * step_right - gap
  made.rows = (math.ceil(#images / across) - 1) * step_down + height
  made.cells, made.places, made.height, made.width = empty_cells(made.rows, made.columns), {}, height, width
  for i, image in ipairs(images) do
    local top, left = 1 + (i - 1) // across * step_down, 1 + (i - 1) % across * step_right
    made.places[i] = { top = top, left = left, rows = #image[1], columns = #image[1][1] }
    if made.shade then paste(made.cells, image, top, left, made.shade, in_color) end
  end
  made.step_down, made.step_right, made.across = step_down, step_right, across
end

--- grid.images(value, options, who): the panel of plot.images; the options are checked but for their lengths.
function grid.images(value, options, who)
  local made = { kind = "images", options = options, notes = {}, map = options.colors or "gray" }
  local images, count = list_images(value, who, made.notes)
  local titles = check_labels(options.titles, count, who .. ": option titles")
  made.titles = titles and table.move(titles, 1, #images, 1, {})
  for _, image in ipairs(images) do made.in_color = made.in_color or #image == 3 end
  made.shade = brightness(images, options, made.map)
  if not made.shade then made.notes[#made.notes + 1] = "no finite data: the panel is empty" end
  lay_out(made, images, made.in_color, titles ~= nil)
  return made
end

return grid
