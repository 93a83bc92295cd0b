--- Where figures are shown: in a window, as pixels in a terminal that knows sixel, or with characters.

local process = require("plumb.core").process
local channel = require "plumb.plot.channel"
local gnuplot = require "plumb.plot.gnuplot"
local script = require "plumb.plot.script"

local display = {}

local WINDOWS = { "qt", "wxt", "x11" } -- gnuplot's terminals that open windows, the best first
local ANSWER_SECONDS = 1               -- that a terminal has to say what it can do; most answer at once

-- ---- choosing --------------------------------------------------------------------------------------------------

local function has_screen()
  for _, name in ipairs { "DISPLAY", "WAYLAND_DISPLAY" } do
    local value = os.getenv(name)
    if value and value ~= "" then return true end
  end
  return false
end

--- display.window_terminal(options): the name of gnuplot's terminal for windows here, or nil where there is none.
function display.window_terminal(options)
  if not has_screen() then return nil end
  for _, name in ipairs(WINDOWS) do
    if gnuplot.has_terminal(name, options) then return name end
  end
  return nil
end

local knows_sixel

-- The primary device attributes are ESC [ ? number ; number ... c; 4 among them stands for sixel (VT340 manual; xterm's
-- "Control Sequences"). A terminal is asked once.
local function terminal_knows_sixel(options)
  if knows_sixel == nil then
    local term = os.getenv("TERM")
    knows_sixel = false
    if term and term ~= "" and term ~= "dumb" and process.isatty(1) and process.isatty(0) then
      io.stdout:flush()
      local answer = process.ask_terminal("\27[c", "c", ANSWER_SECONDS)
      local attributes = answer and answer:match("\27%[%?([%d;]+)c$")
      knows_sixel = attributes ~= nil and (";" .. attributes .. ";"):find(";4;", 1, true) ~= nil
    end
  end
  return knows_sixel and gnuplot.has_terminal("sixelgd", options)
end

--- display.choose(options): "window", "sixel" or "text": options.as, otherwise $PLUMB_PLOT, otherwise the best there is.
function display.choose(options)
  local wanted = options.as or os.getenv("PLUMB_PLOT")
  if wanted == "window" or wanted == "sixel" or wanted == "text" then return wanted end
  if not process.isatty(1) and not process.isatty(2) then return "text" end -- nobody looks at the screen
  if display.window_terminal(options) then return "window" end
  return terminal_knows_sixel(options) and "sixel" or "text"
end

-- ---- windows ---------------------------------------------------------------------------------------------------

-- One gnuplot holds all windows. It responds to the mouse by itself, whatever this program does.
local windows = {}

local function close_windows()
  windows.channel:stop()
  windows.channel, windows.terminal = nil, nil
end

--- display.open_window(options): the gnuplot of the windows, or nil and a message.
function display.open_window(options)
  if windows.channel and windows.channel:poll() == "dead" then close_windows() end
  if not windows.channel then
    local message
    windows.channel, message = channel.open(options)
    if not windows.channel then return nil, message end
    -- At the end of the program the windows stay until the user closes them. Lua finalizes in reverse order: this object,
    -- which is younger than the channel, before the channel. An earlier channel's has nothing to do with this one.
    local opened = windows.channel
    windows.keeper = setmetatable({}, { __gc = function()
      if windows.channel == opened then opened:leave() end
    end })
  end
  return windows.channel
end

--- display.window_script(figure, number, options): what draws the figure in the window of that number.
function display.window_script(figure, number, options)
  local name = display.window_terminal(options)
  local canvas = script.canvas("window", figure)
  canvas.terminal, canvas.window = name, number
  local terminal = ("%s %d %d %d"):format(name, number, canvas.width // 1, canvas.height // 1)
  canvas.same_window = windows.terminal == terminal -- setting it again would undo the user's own size of the window
  windows.terminal = terminal
  return script.write(figure, canvas)
end

--- display.failure(window, state, seconds): why the gnuplot of a window did not draw; it is gone then.
function display.failure(window, state, seconds)
  local said = window:take_words()
  close_windows()
  said = said and ":\n" .. said or ""
  if state == "dead" then return "gnuplot ended without drawing the figure" .. said end
  gnuplot.note_stuck()
  return ("gnuplot did not finish within %g seconds and was ended%s"):format(seconds, said)
end

--- display.in_window(figure, number, options): shows the figure; nil and a message when gnuplot fails.
function display.in_window(figure, number, options)
  if not display.window_terminal(options) then
    return nil, "there is no display, or gnuplot has no terminal for windows (Debian's package with one is gnuplot-qt)"
  end
  local window, message = display.open_window(options)
  if not window then return nil, message end
  window:send(display.window_script(figure, number, options))
  local seconds = gnuplot.timeout(options)
  local state = window:wait(seconds)
  if state ~= "idle" then return nil, display.failure(window, state, seconds) end
  local said = window:take_words()
  if said then gnuplot.warn(said, "gnuplot says: " .. said) end
  return true
end

-- ---- sixel -----------------------------------------------------------------------------------------------------

local SMALL_ROW = 12 -- pixels, where the terminal does not say

--- display.sixel_script(figure): what draws the figure in pixels that fit the terminal, and how many of its rows they take.
function display.sixel_script(figure)
  local canvas = script.canvas("sixel", figure)
  local width, height, row = process.terminal_pixels()
  local shrink = math.min(1, width and 0.95 * width / canvas.width or 1, height and 0.8 * height / canvas.height or 1)
  canvas.width, canvas.height = math.max(200, canvas.width * shrink), math.max(150, canvas.height * shrink)
  return script.write(figure, canvas), math.ceil(canvas.height / (row or SMALL_ROW))
end

--- display.sixel(bytes): the picture in what gnuplot wrote; gnuplot 6 goes to the top of the screen first.
function display.sixel(bytes) return bytes:match("\27P.*\27\\") end

--- display.as_sixel(figure, options): the bytes that show the figure on such a terminal; nil and a message.
function display.as_sixel(figure, options)
  local bytes, message = gnuplot.draw(display.sixel_script(figure), "sixel", options)
  return bytes and display.sixel(bytes), message
end

return display
