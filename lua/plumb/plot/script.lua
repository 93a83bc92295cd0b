--- Writes a figure as a gnuplot script: data as here-documents, then one block of settings and one plot command per panel.
-- What a kind of panel needs is written by a module of its own (curves, cells, surface).

local text = require "plumb.plot.text"
local cells = require "plumb.plot.cells"
local writers = { axes = require "plumb.plot.curves", surface = require "plumb.plot.surface", cells = cells, images = cells }

local script = {}

local quote, number = text.quote, text.number

--- script.canvas(kind, figure, columns): the measures of what is drawn on. Sizes are in pixels, or in characters for
--- "text"; a character is then 1 by 1. kind is that of gnuplot.draw, or "window", with the fields terminal and window.
function script.canvas(kind, figure, columns)
  if kind == "text" then
    return { kind = kind, width = columns, height = math.max(16, math.min(30, columns * 3 // 10)),
      char_width = 1, line_height = 1 }
  end
  return { kind = kind, width = figure.width, height = figure.height, char_width = 7.6, line_height = 18 }
end

-- ---- terminals -------------------------------------------------------------------------------------------------

-- How the cells of a heat map are drawn, as the macro @cells: an svg or pdf viewer blurs bitmaps, and png shows seams
-- between rectangles.
local CELLS = { svg = "image pixels", pdf = "image pixels", png = "image", text = "image", window = "image", sixel = "image" }

local function size(canvas) return ("%d,%d"):format(canvas.width // 1, canvas.height // 1) end

local terminal = {}

function terminal.svg(canvas)
  return { ("set terminal svg size %s enhanced font 'sans-serif,10.5' fontscale 1.33 background '#ffffff'"):format(size(canvas)) }
end

function terminal.png(canvas)
  return {
    "if (strstrt(GPVAL_TERMINALS, ' pngcairo ')) {",
    ("  set terminal pngcairo size %s enhanced font 'Sans,10.5' background '#ffffff'"):format(size(canvas)),
    "} else {",
    ("  set terminal png size %s enhanced truecolor font 'Sans,10.5' background '#ffffff'"):format(size(canvas)),
    "}",
  }
end

function terminal.pdf(canvas)
  return { ("set terminal pdfcairo size %sin,%sin enhanced font 'Sans,10.5' background '#ffffff'"):format(
    number(canvas.width / 96), number(canvas.height / 96)) }
end

function terminal.text(canvas)
  return { ("set terminal dumb size %s nofeed noenhanced mono"):format(size(canvas)) }
end

function terminal.sixel(canvas)
  return { ("set terminal sixelgd size %s enhanced truecolor font 'Sans,10.5'"):format(size(canvas)) }
end

-- In a window that is there already, the figure replaces the older one.
function terminal.window(canvas)
  local lines = { "unset multiplot", "reset" }
  if not canvas.same_window then
    table.insert(lines, 1, ("set terminal %s %d size %s enhanced font 'Sans,10.5' title 'plumb' persist"):format(canvas.terminal,
      canvas.window - 1, size(canvas)))
  end
  return lines
end

local function terminal_lines(canvas, kind)
  local lines = terminal[kind](canvas)
  lines[#lines + 1] = ("cells = '%s'"):format(CELLS[kind])
  return lines
end

-- A script that draws on its own: the ending is its first argument, the file lies in the current folder.
local function standalone_terminal(canvas, name)
  local lines = {
    "# Redraws this figure in the current folder: gnuplot THIS-FILE  makes an svg,",
    "# gnuplot -c THIS-FILE png  (or pdf) makes the other kinds.",
    "ending = (exists('ARGC') && ARGC > 0) ? ARG1 : 'svg'",
  }
  for _, kind in ipairs{ "png", "pdf", "svg" } do
    lines[#lines + 1] = ("if (ending eq '%s') {"):format(kind)
    for _, line in ipairs(terminal_lines(canvas, kind)) do lines[#lines + 1] = "  " .. line end
    lines[#lines + 1] = "}"
  end
  -- "./" keeps a name that begins with "|" from being a pipe.
  lines[#lines + 1] = ("set output './'.%s.'.'.ending"):format(quote(name))
  return lines
end

-- ---- the whole -------------------------------------------------------------------------------------------------

local function write_multiplot(lines, figure, canvas)
  local columns = figure.columns
  local rows = (#figure.panels + columns - 1) // columns
  local title = ""
  if figure.title then
    title = (" title %s font ',15' noenhanced"):format(
      quote(text.wrap(figure.title, (0.6 * canvas.width / canvas.char_width) // 1, 2)))
  end
  lines[#lines + 1] = ("set multiplot layout %d,%d%s"):format(rows, columns, title)
  local part = setmetatable({ width = canvas.width / columns, height = canvas.height / rows }, { __index = canvas })
  for p, made in ipairs(figure.panels) do
    lines[#lines + 1] = "reset"
    writers[made.kind].write_panel(lines, made, "panel" .. p .. "_", part)
  end
  lines[#lines + 1] = "unset multiplot"
end

--- script.write(figure, canvas, name): the script as one string. With a `name` it is one that stands on its own and
--- draws into a file of that name in the current folder; without, it draws to gnuplot's standard output.
function script.write(figure, canvas, name)
  local lines = name and standalone_terminal(canvas, name) or terminal_lines(canvas, canvas.kind)
  table.insert(lines, 1, "set encoding utf8")
  for p, made in ipairs(figure.panels) do
    writers[made.kind].write_data(lines, made, "panel" .. p .. "_")
  end
  if #figure.panels == 1 and not figure.title then
    writers[figure.panels[1].kind].write_panel(lines, figure.panels[1], "panel1_", canvas)
  else
    write_multiplot(lines, figure, canvas)
  end
  lines[#lines + 1] = "unset output"
  return table.concat(lines, "\n") .. "\n"
end

return script
