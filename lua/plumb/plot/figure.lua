--- Figures: values that can be saved, printed as text and shown.

local report = require "plumb.report"
local options_of = require "plumb.plot.options"
local script = require "plumb.plot.script"
local characters = require "plumb.plot.characters"
local display = require "plumb.plot.display"
local gnuplot = require "plumb.plot.gnuplot"
local text = require "plumb.plot.text"
local progress = require "plumb.progress"
local process = require("plumb.core").process

local fail = report.fail

local Figure = { doc = [[
A figure, as plot.lines and the others return it. At the prompt a statement that gives one shows it; elsewhere figure:show() does,
and figure:save("name.png") (or .svg, .pdf, .gp) keeps it. Several go into one with plot.figure{panels = {...}}.]] }
Figure.__index = Figure
Figure.__name = "plumb.figure"

local DEFAULT_SIZE = { width = 800, height = 480 }
local PANEL_SIZE = { width = 560, height = 420 }
local DRAW_OPTIONS = { timeout = "seconds", gnuplot = "text" }
local FIGURE_OPTIONS = { title = "text", width = "pixels", height = "pixels", columns = "count", panels = "any" }

local function title_of(figure)
  local titles = {}
  for _, made in ipairs(figure.panels) do titles[#titles + 1] = made.options.title end
  local title = figure.title or (#titles > 0 and table.concat(titles, " | ")) or "untitled"
  return (text.clean(title):gsub("\n", " "))
end

-- ---- saving ----------------------------------------------------------------------------------------------------

-- The file appears whole or not at all, so an older figure survives any failure.
local function write_file(path, bytes)
  local unique = tostring({}):match("0x(%x+)") or "0"
  local temporary = ("%s.%s.tmp"):format(path, unique)
  local file, open_message = io.open(temporary, "wb")
  if not file then
    return nil, ("%s: %s"):format(path, open_message:match("([^: ][^:]*)$")) -- without the temporary name
  end
  local written, write_message = file:write(bytes)
  local closed, close_message = file:close()
  local renamed, rename_message
  if written and closed then
    renamed, rename_message = os.rename(temporary, path)
    if renamed then return path end
  end
  os.remove(temporary)
  return nil, ("%s: %s"):format(path, write_message or close_message or rename_message)
end

local function failed(topic, message)
  gnuplot.warn(topic, message)
  return nil, message
end

local function split_path(path, who)
  if type(path) ~= "string" then fail("%s: the path is a %s, expected a string", who, type(path)) end
  if path:find("\0", 1, true) then fail("%s: the path holds a zero byte", who) end
  local base, ending = path:match("^(.+)%.(%w+)$")
  return base, ending and ending:lower()
end

local function save_script(figure, base, path)
  local name = base:match("([^/]*)$")
  local bytes = script.write(figure, script.canvas("svg", figure), name ~= "" and name or "figure")
  local saved, message = write_file(path, bytes)
  if not saved then return failed(message, "can't save the figure: " .. message) end
  return saved
end

local function notes_text(figure)
  local notes = figure:notes()
  return #notes > 0 and table.concat(notes, "; ") or nil
end

local function is_empty(made) return not (made.x or made.shade) end

local function warn_if_empty(figure)
  for _, made in ipairs(figure.panels) do
    if is_empty(made) and not made.warned then
      made.warned = true
      io.stderr:write(("plumb: figure '%s': %s\n"):format(title_of(figure), table.concat(made.notes, "; ")))
    end
  end
end

--- figure:save(path, options): writes the figure; the ending chooses svg, png, pdf or gp (a gnuplot script with the data
--- that redraws it). Returns the path, and as a second value what was left out, if anything; or nil and a message, after
--- one warning per process, when gnuplot fails, and then saves the .gp script beside. An old file at the path survives
--- every failure. options: timeout in seconds, gnuplot = the program.
function Figure:save(path, options)
  local base, ending = split_path(path, "figure:save")
  if ending ~= "svg" and ending ~= "png" and ending ~= "pdf" and ending ~= "gp" then
    fail("figure:save: '%s' must end in .svg, .png, .pdf or .gp", path)
  end
  options = options_of.check(options, "figure:save", DRAW_OPTIONS)
  warn_if_empty(self)
  if ending == "gp" then
    local saved, message = save_script(self, base, path)
    return saved, saved and notes_text(self) or message
  end
  local bytes, message = gnuplot.draw(script.write(self, script.canvas(ending, self)), ending, options or {})
  if not bytes then
    local topic = message:find("^gnuplot failed") and message or "gnuplot" -- its own words are worth showing every time
    local saved, script_message = save_script(self, base, base .. ".gp")
    message = ("%s; %s"):format(message, saved and ("the figure is saved as the script '%s'"):format(saved) or script_message)
    return failed(topic, message)
  end
  local saved
  saved, message = write_file(path, bytes)
  if not saved then return failed(message, "can't save the figure: " .. message) end
  return saved, notes_text(self)
end

--- figure:save_all(base, options): writes base.gp, base.svg and base.png. Returns the three paths as a list, or nil and a
--- message; what could be written (the script at least) is then there.
function Figure:save_all(base, options)
  split_path(base, "figure:save_all")
  local paths = {}
  for i, ending in ipairs{ "gp", "svg", "png" } do
    local path, message = self:save(base .. "." .. ending, options)
    if not path then return nil, message end
    paths[i] = path
  end
  return paths, notes_text(self)
end

-- ---- showing ---------------------------------------------------------------------------------------------------

-- One panel with characters; nil and a message when gnuplot, which draws curves, fails.
local function panel_text(made, columns, options)
  if made.kind ~= "axes" or made.field then return characters.draw(made, columns) end
  local single = { panels = { made }, columns = 1 }
  local bytes, message = gnuplot.draw(script.write(single, script.canvas("text", single, columns)), "text", options)
  if not bytes then return nil, message end
  return (bytes:gsub("\f", ""):gsub("[ \t]+\n", "\n"):gsub("%s+$", ""):gsub("^\n+", ""))
end

local function draw_text(figure, columns, options)
  columns = math.tointeger(math.max(40, math.min(columns, 400)) // 1) - 1 -- a full last column would wrap on some terminals
  local parts = { figure.title and text.clean(figure.title) }
  for _, made in ipairs(figure.panels) do
    local drawn, message = panel_text(made, columns, options)
    if not drawn then return nil, message end
    parts[#parts + 1] = drawn
  end
  return table.concat(parts, "\n\n") .. "\n"
end

--- figure:text(columns, options): the figure drawn with characters, one panel below the other; nil and a message when
--- gnuplot fails. `columns` is by default the terminal's width, or 80.
function Figure:text(columns, options)
  columns = columns or process.terminal_width() or 80
  if type(columns) ~= "number" or columns ~= columns then
    fail("figure:text: columns must be a number, not a %s", type(columns))
  end
  options = options_of.check(options, "figure:text", DRAW_OPTIONS)
  warn_if_empty(self)
  local drawn, message = draw_text(self, columns, options)
  if not drawn then return failed("gnuplot", message .. '; figure:save("name.gp") keeps the figure as a script') end
  return drawn
end

local function write_out(bytes)
  progress.hide()
  io.stdout:write(bytes)
  io.stdout:flush()
  return true
end

-- The script of a figure that could not be shown: nothing that was computed is lost.
local function keep_script(figure, message)
  local path = os.tmpname()
  os.remove(path)
  local saved, script_message = save_script(figure, path, path .. ".gp")
  return failed("gnuplot", ("%s; %s"):format(message, saved and ("the figure is saved as the script '%s'"):format(saved)
    or script_message))
end

local SHOW_OPTIONS = { timeout = "seconds", gnuplot = "text", as = { "window", "sixel", "text" }, window = "count" }

--- figure:show(options): shows the figure: in a window where there is a display and gnuplot has a terminal for it (qt, wxt or
--- x11), else in the terminal itself where that knows sixel, else with characters. Returns true, or nil and a message when
--- gnuplot fails, after one warning; the figure is then kept as a script. options: as = "window", "sixel" or "text" (otherwise
--- the environment's PLUMB_PLOT), window = number of the window, 1; timeout in seconds, gnuplot = the program.
function Figure:show(options)
  options = options_of.check(options, "figure:show", SHOW_OPTIONS)
  warn_if_empty(self)
  local kind = display.choose(options)
  if kind == "window" then
    local shown, message = display.in_window(self, options.window or 1, options)
    if shown then return true end
    return keep_script(self, message)
  end
  local bytes, message
  if kind == "sixel" then bytes, message = display.as_sixel(self, options)
  else bytes, message = draw_text(self, process.terminal_width() or 80, options) end
  if not bytes then return keep_script(self, message) end
  return write_out(kind == "sixel" and bytes .. "\n" or bytes)
end

-- What the prompt does with a figure that a statement gives.
Figure.__show = Figure.show

--- figure:notes(): a list of sentences about what the figure leaves out; empty when nothing.
function Figure:notes()
  local notes = {}
  for _, made in ipairs(self.panels) do
    table.move(made.notes, 1, #made.notes, #notes + 1, notes)
  end
  return notes
end

function Figure:__tostring()
  local count = 0
  for _, made in ipairs(self.panels) do count = count + (made.layers and #made.layers or 1) end
  return ("figure '%s': %d panel%s, %d series, %d x %d pixels (figure:show(), figure:save(\"name.svg\"))"):format(
    title_of(self), #self.panels, #self.panels == 1 and "" or "s", count, self.width // 1, self.height // 1)
end

-- ---- making ----------------------------------------------------------------------------------------------------

local figures = {}

--- figures.is(value): is it a figure?
function figures.is(value) return getmetatable(value) == Figure end

--- figures.single(made): the figure of one panel, of the size in its options or of {width =, height =}.
function figures.single(made, size)
  size = size or DEFAULT_SIZE
  return setmetatable({
    panels = { made }, columns = 1,
    width = made.options.width or size.width, height = made.options.height or size.height,
  }, Figure)
end

--- figures.of_panels(panels, options): the figure of these panels, row by row. options: columns, title, width, height.
function figures.of_panels(panels, options)
  options = options or {}
  local columns = math.min(options.columns or math.ceil(math.sqrt(#panels)), #panels)
  local rows = (#panels + columns - 1) // columns
  return setmetatable({
    panels = panels, columns = columns, title = options.title,
    width = options.width or columns * PANEL_SIZE.width,
    height = options.height or rows * PANEL_SIZE.height + (options.title and 30 or 0),
  }, Figure)
end

--- figures.combine(settings): see plot.figure.
function figures.combine(settings)
  if type(settings) ~= "table" then fail("plot.figure: expected {panels = {figure, ...}}, not a %s", type(settings)) end
  local options = options_of.check(settings, "plot.figure", FIGURE_OPTIONS)
  local given = options.panels
  if type(given) ~= "table" or #given == 0 then fail("plot.figure: panels must be a list of at least one figure") end
  local panels = {}
  for i = 1, #given do
    local figure = given[i]
    if not figures.is(figure) or #figure.panels ~= 1 then
      fail("plot.figure: panels[%d] must be a figure of one panel, as made by plot.lines or plot.heatmap", i)
    end
    panels[i] = figure.panels[1]
  end
  return figures.of_panels(panels, options)
end

--- figures.keep_script(figure, message): one warning, and the figure as a script in the folder for temporary files.
figures.keep_script = keep_script

return figures
