--- Data sets as tables {x =, y =, classes =}: x float32 images (n, 1, 28, 28) in [0, 1], y int64 labels (n) counted
--- from 1, classes the names to show. What is read from disk is checked before it is used. In memory the images are uint8
--- (set.images); x is made from them when somebody asks for it.
local core = require "plumb.core"
local report = require "plumb.report"
local sample_set = require "plumb.data.set"
local tensors = require "plumb.tensor"

local data = { loader = require("plumb.data.loader").new }

-- ---- where data sets are looked for ----

local function from_environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

--- data.roots() -> list of folders
--- Where data sets are looked for, in this order: $PLUMB_DATA, then $XDG_DATA_HOME/plumb (~/.local/share/plumb).
function data.roots()
  local shared, home = from_environment("XDG_DATA_HOME"), from_environment("HOME")
  if not (shared and shared:sub(1, 1) == "/") then -- the XDG specification: ignore relative paths
    shared = home and home .. "/.local/share"
  end
  local roots = { from_environment("PLUMB_DATA") }
  if shared then roots[#roots + 1] = shared .. "/plumb" end
  return roots
end

local parts = { "train-images", "train-labels", "t10k-images", "t10k-labels" }
local axes = { images = 3, labels = 1 }

local sets = {
  mnist = {
    title = "MNIST",
    below_root = { "", "/MNIST/raw" }, -- as downloaded, and in torchvision's layout
    below_given_root = { "", "/MNIST/raw" },
    elsewhere = {},
    remedy = "run 'make data', which brings it",
    classes = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" },
  },
  fashion_mnist = {
    title = "Fashion-MNIST",
    below_root = { "/FashionMNIST/raw", "/fashion-mnist" },
    below_given_root = { "", "/FashionMNIST/raw", "/fashion-mnist" },
    elsewhere = { "/usr/share/datasets/fashion-mnist" },
    remedy = "run 'make deps' or 'apt-get install dataset-fashion-mnist', which bring it",
    classes = { "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
      "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot" },
  },
}

local function folders_of(set, root)
  local folders = {}
  local function add(base, list)
    for _, below in ipairs(list) do folders[#folders + 1] = base .. below end
  end
  if root then
    add(root, set.below_given_root)
  else
    for _, base in ipairs(data.roots()) do add(base, set.below_root) end
    add("", set.elsewhere)
  end
  return folders
end

local function file_in(folder, part)
  for _, separator in ipairs { "-", "." } do
    for _, ending in ipairs { "", ".gz" } do
      local path = ("%s/%s%sidx%d-ubyte%s"):format(folder, part, separator, axes[part:match("%a+$")], ending)
      if core.files.exists(path) then return path end
    end
  end
end

-- The paths of the four files in the first folder that has them all; nil and what is missing where otherwise.
local function locate(set, root)
  local looked_at = {}
  for _, folder in ipairs(folders_of(set, root)) do
    local paths, lacking = {}, {}
    for _, part in ipairs(parts) do
      paths[part] = file_in(folder, part)
      if not paths[part] then lacking[#lacking + 1] = part end
    end
    if #lacking == 0 then return paths end
    looked_at[#looked_at + 1] = "\n  " .. folder .. (#lacking == #parts and "" or " (lacks " ..
      table.concat(lacking, ", ") .. ")")
  end
  return nil, ("%s is not on this machine: %s. Looked for its four IDX files (%s, ..., gzipped or not) in:%s"):format(
    set.title, set.remedy, "train-images-idx3-ubyte", table.concat(looked_at))
end

-- ---- reading and checking ----

local function read_idx(path)
  local read, tensor = pcall(core.files.read_idx, path) -- called by pcall, an error carries no line of this file
  return read and tensor or error(tensor, 0)
end

local function read_images(path)
  local images = read_idx(path)
  local shape = images:shape()
  if images:dtype() ~= "uint8" or #shape ~= 3 or shape[2] ~= 28 or shape[3] ~= 28 then
    error(("%s: found a %s tensor of shape (%s); expected uint8 images of shape (n, 28, 28)"):format(
      path, images:dtype(), table.concat(shape, ", ")), 0)
  end
  return images
end

local function read_labels(path, class_count)
  local labels = read_idx(path)
  if labels:dtype() ~= "uint8" or #labels:shape() ~= 1 then
    error(("%s: found a %s tensor of shape (%s); expected uint8 labels of shape (n)"):format(
      path, labels:dtype(), table.concat(labels:shape(), ", ")), 0)
  end
  local bytes = core.files.bytes(labels)
  local outside = bytes:find(("[^\0-%s]"):format(string.char(class_count - 1)))
  if outside then
    error(("%s: label %d is %d; expected 0 to %d"):format(path, outside, bytes:byte(outside), class_count - 1), 0)
  end
  return labels
end

local function read_half(set, images_path, labels_path)
  local images, labels = read_images(images_path), read_labels(labels_path, #set.classes)
  local count = images:size(1)
  if count ~= labels:size(1) then
    error(("%s holds %d images, but %s holds %d labels"):format(images_path, count, labels_path, labels:size(1)), 0)
  end
  if count == 0 then error(images_path .. ": holds no images", 0) end
  return sample_set.of_images {
    images = images:reshape(count, 1, 28, 28),
    y = labels:long() + 1,
    classes = table.move(set.classes, 1, #set.classes, 1, {}),
  }
end

-- The options that are known, or an error; `samples` only where examples are read.
local function check_options(options, level, samples)
  if options == nil then return {} end
  if type(options) ~= "table" then error("options are a table, such as { root = \"FOLDER\" }", level + 1) end
  for key, value in pairs(options) do
    if key == "root" and type(value) ~= "string" then
      error(("option 'root' is a folder's path, not a %s"):format(type(value)), level + 1)
    elseif key == "samples" and samples and not (math.type(value) == "integer" and value >= 1) then
      error(("option 'samples' is a whole number of examples from 1 on, not %s"):format(tostring(value)), level + 1)
    elseif key ~= "root" and not (key == "samples" and samples) then
      error(("unknown option '%s'; %s"):format(tostring(key), samples and "there are 'root' and 'samples'"
        or "the only one is 'root'"), level + 1)
    end
  end
  return options
end

local function read_set(set, root)
  local paths, message = locate(set, root)
  if not paths then error(message, 0) end
  return read_half(set, paths["train-images"], paths["train-labels"]),
    read_half(set, paths["t10k-images"], paths["t10k-labels"])
end

local function load_set(name, options)
  options = check_options(options, 3, true)
  local read, train, test = pcall(read_set, sets[name], options.root)
  if not read then error(train, 3) end
  if options.samples and options.samples < #train.y then train = sample_set.first(train, options.samples) end
  return train, test
end

-- ---- for users ----

--- data.mnist({root = FOLDER, samples = all}) -> train, test
--- MNIST's 60,000 and 10,000 handwritten digits (LeCun, Cortes, Burges). Read from the first folder that has its four
--- IDX files, gzipped or not: each of data.roots() and MNIST/raw in it; with `root` only that one. `make data` brings
--- them. With `samples` train holds only the first so many, or all there are. Raises an error that lists the places when they
--- are missing, and names the file that is damaged.
function data.mnist(options)
  local train, test = load_set("mnist", options)
  return train, test
end

--- data.fashion_mnist({root = FOLDER, samples = all}) -> train, test
--- Fashion-MNIST's 60,000 and 10,000 images of clothing (Xiao, Rasul, Vollgraf 2017), like data.mnist. Looked for in
--- FashionMNIST/raw and fashion-mnist below each of data.roots(), then where Debian's dataset-fashion-mnist puts it.
function data.fashion_mnist(options)
  local train, test = load_set("fashion_mnist", options)
  return train, test
end

--- data.idx(path) -> tensor
--- Any IDX file, gzipped or not. uint8 stays uint8 (cast it before arithmetic), smaller and larger integers become
--- int64, floats keep their type. A file that is not exactly as long as its header says is an error.
function data.idx(path)
  local read, tensor = pcall(read_idx, path)
  if not read then error(tensor, 2) end
  return tensor
end

local function set_named(name, level)
  return sets[name] or error(("no data set is called '%s'; expected 'mnist' or 'fashion_mnist'"):format(
    tostring(name)), level + 1)
end

--- data.missing(name, {root = FOLDER}) -> nil, or a message
--- Asks whether "mnist" or "fashion_mnist" could be read, without reading it: nil when its files are there, otherwise
--- the places looked at and the command that brings it.
function data.missing(name, options)
  local _, message = locate(set_named(name, 2), check_options(options, 2).root)
  return message
end

--- data.setting() -> the setting `dataset` of an experiment (experiment.start): which images, "mnist" or "fashion_mnist". A run
--- without them ends before any work.
function data.setting()
  return { name = "dataset", default = "mnist", choices = { "mnist", "fashion_mnist" }, help = "which images",
    missing = function(name) return data.missing(name) end }
end

--- data.paths(name, {root = FOLDER}) -> {["train-images"] = path, ...}, or nil and the message of data.missing
function data.paths(name, options)
  return locate(set_named(name, 2), check_options(options, 2).root)
end

--- data.subset(set, n) -> a data set of the first n examples; images stay uint8
function data.subset(set, n)
  if type(set) ~= "table" or sample_set.inputs(set) == nil or set.y == nil then
    error("data.subset: expected a data set, a table with x and y", 2)
  end
  local count = set.y:size(1)
  local whole = math.type(n) and math.tointeger(n)
  if not whole or whole < 1 or whole > count then
    error(("data.subset: n is %s; expected a whole number from 1 to %d"):format(tostring(n), count), 2)
  end
  return sample_set.first(set, whole)
end

local curves = {
  sinc = { formula = "sin(5πx) / (5πx)", f = function(x) return (x * 5 * math.pi):sin() / (x * 5 * math.pi) end },
  sign = { formula = "sign(sin(5πx))", f = function(x) return (x * 5 * math.pi):sin():sign() end },
}

--- data.curve(name, {points = 256, from = 1e-4, to = 1, dtype = "float32"}) -> {x =, y = (points, 1), formula =}: points of a
--- function to fit, evenly spaced. "sinc" is sin(5πx) / (5πx), smooth, without a value at 0; "sign" is sign(sin(5πx)), which
--- jumps. Computed in float64: in float32 sin(5π) is below 0, and sign would end with a point of -1.
function data.curve(name, options)
  local who, curve = "data.curve", curves[name]
  if not curve then report.fail("%s: there is no curve %s (there are: sign, sinc)", who, tostring(name)) end
  options = report.options(who, options, { points = 256, from = 1e-4, to = 1, dtype = "float32" })
  if options.dtype ~= "float32" and options.dtype ~= "float64" then
    report.fail("%s: dtype must be float32 or float64, not %s", who, tostring(options.dtype))
  end
  local from, to = report.number(who, "from", options.from), report.number(who, "to", options.to)
  local count = report.integer(who, "points", options.points, 1)
  local x = tensors.linspace(from, to, count, { dtype = "float64" }):reshape(-1, 1)
  return { x = x:cast(options.dtype):evaluate(), y = curve.f(x):cast(options.dtype):evaluate(), formula = curve.formula }
end

--- data.random_labels(set, share, {seed = 0}) -> a data set of the same examples, of whose labels a share, 0 to 1, is random
--- (Zhang et al. 2017). A label is replaced where a uniform number falls below the share, by one that is uniform over set.classes
--- and so may by chance be the true one. With one seed a larger share replaces the same labels and more.
function data.random_labels(set, share, options)
  local who = "data.random_labels"
  sample_set.check(who, "the first argument", set)
  if type(set.classes) ~= "table" or #set.classes == 0 then report.fail("%s: the data set has no list of classes", who) end
  report.number(who, "share", share, 0, 1)
  local seed = report.integer(who, "seed", report.options(who, options, { seed = 0 }).seed)
  local noisy, count = sample_set.first(set, #set.y), #set.y
  local place = tensors.rand({ count }, { seed = seed }):lt(share)
  noisy.y = place:where(tensors.randint(1, #set.classes, { count }, { seed = seed + 1 }), set.y):evaluate()
  return noisy
end

return data
