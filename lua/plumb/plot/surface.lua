--- Writes the ground of contour plots, and the panels of plot.surface.

local axes = require "plumb.plot.axes"
local text = require "plumb.plot.text"

local surface = {}

local number = text.number

-- Rows "x y z" with a blank line after each row of the matrix, as gnuplot reads a grid.
local function write_grid(lines, name, one, digits)
  local format = ("%%.%dg %%.%dg "):format(digits, digits)
  lines[#lines + 1] = ("$%s << EOD"):format(name)
  for r, row in ipairs(one.z) do
    for c, z in ipairs(row) do
      local place = format:format(one.x[c], one.y[r]):gsub(",", ".")
      lines[#lines + 1] = place .. (z == z and number(z, digits) or "NaN")
    end
    lines[#lines + 1] = ""
  end
  lines[#lines + 1] = "EOD"
end

-- ---- the ground of a contour plot ------------------------------------------------------------------------------

local INK = { sequential = "#FFFFFF", diverging = "#333333", gray = "#D55E00" }

--- surface.ink(made): the colour of lines and texts that can be read on the colours of a contour plot.
function surface.ink(made) return INK[made.map] end

-- gnuplot computes the lines, into a table that plot commands read.
local function write_contours(lines, made, name)
  local set, levels = axes.setter(lines), {}
  for i, level in ipairs(made.levels) do levels[i] = number(level, 12) end
  set("set contour base; unset surface; set format '%%.12g'")
  if made.shade.log then set("set logscale z") end
  set("set cntrparam levels discrete %s", table.concat(levels, ","))
  set("set table $%s_lines", name)
  set("splot $%s using 1:2:3 with lines notitle", name)
  set("unset table; unset contour; set surface; unset logscale; set format")
end

--- surface.write_ground(lines, made, name): the here-documents of the colours and the lines below a contour plot.
function surface.write_ground(lines, made, name)
  write_grid(lines, name, made.field, 12)
  if #made.levels > 0 then write_contours(lines, made, name) end
  lines[#lines + 1] = ("$%s_fill << EOD"):format(name)
  for _, row in ipairs(made.fill) do
    local values = {}
    for c, value in ipairs(row) do values[c] = value == value and number(value, 6) or "NaN" end
    lines[#lines + 1] = table.concat(values, " ")
  end
  lines[#lines + 1] = "EOD"
end

-- The place of pixel number i, from 0, of so many along a rising list.
local function pixel_place(column, list, count)
  local step = (list[#list] - list[1]) / count
  return ("(%s+$%d*%s)"):format(number(list[1] + 0.5 * step, 12), column, number(step, 12))
end

--- surface.ground_clauses(made, name): the parts of the plot command for the ground.
function surface.ground_clauses(made, name)
  local one, fill = made.field, made.fill
  local clauses = { ("$%s_fill matrix using %s:%s:3 with image notitle"):format(name, pixel_place(1, one.x, #fill[1]),
    pixel_place(2, one.y, #fill)) }
  if #made.levels > 0 then
    -- A line has about as many points as the grid has lines; it is labelled early and then once in a while.
    local every = math.max(8, math.max(#one.x, #one.y))
    clauses[2] = ("$%s_lines using 1:2 with lines lc rgb '%s' lw 1 notitle"):format(name, surface.ink(made))
    clauses[3] = ("$%s_lines using 1:2:(int(column(0)) %% %d == %d ? gprintf('%%g', $3) : '') with labels noenhanced "
      .. "font ',8.5' textcolor rgb '%s' notitle"):format(name, every, every // 4, surface.ink(made))
  end
  return clauses
end

-- ---- surfaces --------------------------------------------------------------------------------------------------

--- surface.write_data(lines, made, prefix): the here-document that the plot command names.
function surface.write_data(lines, made, prefix)
  if made.shade then write_grid(lines, prefix .. "surface", made.field, 9) end
end

--- surface.write_panel(lines, made, prefix, canvas): the settings and the plot command.
function surface.write_panel(lines, made, prefix, canvas)
  local set, one = axes.setter(lines), made.field
  axes.labels(set, made.options, canvas)
  if not made.shade then
    axes.empty(set, canvas)
    return
  end
  set("unset key")
  set("set border 4095 lw 0.6 lc rgb '#999999'; set tics out scale 0.5 textcolor rgb '#222222'")
  set("set xyplane relative 0; set view %s,%s", number(made.options.elevation or 55), number(made.options.azimuth or 35))
  set("set grid lt 1 lc rgb '#DDDDDD' lw 0.8 dt solid")
  axes.color_bar(set, made, canvas)
  axes.write(set, "z", made.shade, canvas)
  axes.label(set, "zlabel", made.options.zlabel, 0.5 * canvas.height / canvas.char_width, " rotate by 90")
  set("unset cblabel")
  set("set xrange [%s:%s]; set yrange [%s:%s]", number(one.x[1], 12), number(one.x[#one.x], 12), number(one.y[1], 12),
    number(one.y[#one.y], 12))
  set("set xtics auto; set ytics auto; set pm3d depthorder border lc rgb '#333333' lw 0.3")
  set("splot $%ssurface using 1:2:3 with pm3d notitle", prefix)
end

return surface
