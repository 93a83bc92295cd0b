-- Settings of luacheck, which `make lint` runs.
std = "lua54"
self = false -- a method need not use its object
ignore = { "581" } -- `not (x < y)` is not `x >= y` where x may be NaN
max_line_length = 130
files["tests"] = { std = "+busted", max_line_length = 140 }
files["tests/run.lua"] = { globals = { "arg" } } -- it prepares busted's options
