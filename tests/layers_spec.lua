--- Layers for images and normalisation: PyTorch's numbers, gradients, first values, and what they refuse.
local plumb = require "plumb"
local folders = require "folders"
local support = require "support"
local nn, optim = plumb.nn, plumb.optim

local flat, fails_here, same_numbers, same_bits = support.flat, support.fails_here, support.same_numbers, support.same_bits

local function golden(name) return plumb.files.json_decode(folders.read("tests/golden/" .. name .. ".json")) end

local function tensor_of(record, dtype) return support.make(record.data, record.shape, dtype) end

-- PyTorch's state dict: the same names, shapes and numbers.
local function assert_state(state, expected, what)
  for name, record in pairs(expected) do
    assert.is_truthy(state[name], what .. " lacks " .. name)
    assert.same(record.shape, state[name]:shape(), name)
    same_numbers(flat(state[name]), record.data, 1e-9, what .. ": " .. name)
  end
  for name in pairs(state) do assert.is_truthy(expected[name], what .. " has " .. name) end
end

local function double(model, theta)
  model:double()
  if #theta > 0 then model.theta = plumb.tensor(theta, { dtype = "float64" }) end
  return model
end

-- ---- PyTorch's numbers ----

describe("PyTorch's numbers:", function()
  for number, case in ipairs(golden("layers").cases) do
    local layer = double(nn[case.layer](table.unpack(case.arguments)), case.theta)
    it(("layer %d, %s"):format(number, layer), function()
      local x, weights = tensor_of(case.input), tensor_of(case.weights)
      local output, gradient, input_gradient = plumb.value_and_grad(function(theta, input)
        return (layer:at(theta)(input) * weights):sum()
      end, { count = 2 })(layer.theta, x)
      same_numbers(flat(gradient), case.gradient, 1e-9, "gradient")
      same_numbers(flat(input_gradient), case.input_gradient.data, 1e-9, "gradient by the input")
      assert.is_true(support.near(output:item(), (tensor_of(case.output) * weights):sum():item(), 1e-9))
      if case.state then
        layer(2 * x + 1)
        assert_state(layer:state_dict(), case.state, "state")
        layer:eval()
        same_numbers(flat(layer(x)), case.evaluated.data, 1e-9, "in evaluation mode")
      else
        assert.same(case.output.shape, layer(x):shape())
        same_numbers(flat(layer(x)), case.output.data, 1e-9, "output")
      end
    end)
  end
end)

local function network()
  return nn.Sequential {
    nn.Conv2d(2, 4, 3, { padding = 1 }), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(4, 6, { 2, 3 }, { stride = { 1, 2 }, padding = { 0, 1 }, groups = 2, bias = false }),
    nn.BatchNorm2d(6, { momentum = 0.3 }), nn.ReLU(), nn.AvgPool2d(2, { stride = 1 }),
    nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8, { momentum = false }), nn.LayerNorm(8), nn.Linear(8, 3),
  }
end

describe("a small convolutional network follows PyTorch's training", function()
  local g = golden("cnn")
  local set = { x = tensor_of(g.x), y = tensor_of(g.y, "int64") }

  local function assert_trained(model)
    same_numbers(flat(model.theta), g.trained_theta, 1e-9, "theta")
    assert_state(model:state_dict(), g.state, "state")
    local loss, gradient = plumb.value_and_grad(function(theta)
      return nn.cross_entropy(model:at(theta, { training = false })(set.x), set.y)
    end)(model.theta)
    assert.is_true(support.near(loss:item(), g.evaluated_loss, 1e-9))
    same_numbers(flat(gradient), g.evaluated_gradient, 1e-9, "gradient in evaluation mode")
    same_numbers(flat(model:eval()(set.x)), g.evaluated.data, 1e-9, "in evaluation mode")
    assert_state(model:state_dict(), g.state, "state after evaluation")
  end

  -- step(k, theta, x, y) -> loss, gradient, output; the model's buffers are then those of after the step.
  local function train(model, step)
    local optimizer = optim.SGD { lr = g.lr, momentum = g.momentum }
    for k, range in ipairs(g.batches) do
      local x, y = set.x:slice(1, range[1], range[2]), set.y:slice(1, range[1], range[2])
      local loss, gradient, output = step(model.theta, x, y)
      assert.is_true(support.near(loss:item(), g.losses[k], 1e-9), "loss " .. k)
      same_numbers(flat(output), g.outputs[k].data, 1e-9, "output " .. k)
      same_numbers(flat(gradient), g.gradients[k], 1e-9, "gradient " .. k)
      same_numbers(flat(model.buffers), g.buffers[k], 1e-9, "buffers " .. k)
      model.theta = optimizer:step(model.theta, gradient)
    end
    assert_trained(model)
  end

  it("in a loop written by hand", function()
    local model = double(network(), g.theta)
    train(model, function(theta, x, y)
      local loss, output, gradient = plumb.value_and_grad(function(parameters)
        local logits = model:at(parameters)(x)
        return nn.cross_entropy(logits, y), logits
      end)(theta)
      return loss, gradient, output
    end)
  end)

  it("in a compiled step, which changes nothing in the model", function()
    local model = double(network(), g.theta)
    local compiled = plumb.compile(function(theta, buffers, x, y)
      local loss, output, updated, gradient = plumb.value_and_grad(function(parameters)
        local logits, new = model:at(parameters, { buffers = buffers, training = true })(x)
        return nn.cross_entropy(logits, y), logits, new
      end)(theta)
      return loss, gradient, output, updated
    end)
    train(model, function(theta, x, y)
      local before = model.buffers
      local loss, gradient, output, updated = compiled(theta, before, x, y)
      same_bits(model.buffers, before, "the model's buffers")
      model.buffers = updated
      return loss, gradient, output
    end)
  end)

  it("in fit", function()
    local model, losses, buffers = double(network(), g.theta), {}, {}
    plumb.fit(model, set, { loss = nn.CrossEntropyLoss(), optimizer = optim.SGD { lr = g.lr, momentum = g.momentum },
      batch = 5, shuffle = false, progress = false, on_step = function(run, loss)
        losses[run.step], buffers[run.step] = loss, flat(model.buffers)
      end })
    same_numbers(losses, g.losses, 1e-9, "losses")
    for k = 1, 5 do same_numbers(buffers[k], g.buffers[k], 1e-9, "buffers " .. k) end
    assert_trained(model)
  end)
end)

-- ---- gradients ----

describe("second-order gradients are right through", function()
  local random = support.generator(3)
  local function randn(...)
    local shape, list, count = { ... }, {}, 1
    for _, size in ipairs(shape) do count = count * size end
    for i = 1, count do list[i] = random(-2, 2) end
    return support.make(list, shape)
  end

  local cases = {
    { nn.BatchNorm1d(2), randn(4, 2) }, { nn.BatchNorm1d(2, { affine = false }), randn(2, 2, 2) },
    { nn.BatchNorm2d(2), randn(2, 2, 1, 2) }, { nn.LayerNorm(4), randn(2, 4) },
    { nn.LayerNorm({ 2, 2 }, { elementwise_affine = false }), randn(2, 2, 2) },
    { nn.BatchNorm2d(2):eval(), randn(1, 2, 2, 2) },
    { nn.Conv2d(2, 2, 2, { padding = "same" }), randn(1, 2, 2, 3) },
    { nn.AvgPool2d(2, { padding = 1 }), randn(1, 1, 2, 3) },
    { nn.Sequential { nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Softplus(), nn.AdaptiveAvgPool2d(1) }, randn(2, 1, 3, 2) },
  }
  for _, case in ipairs(cases) do
    local layer, x = case[1]:double(), case[2]
    it((tostring(layer):gsub("\n%s*", " ")) .. (layer.training and "" or " in evaluation mode"), function()
      local theta = randn(layer.size)
      local inputs = layer.size > 0 and { x, theta } or { x }
      local before = layer.buffers
      support.check_gradients(function(input, parameters)
        return layer:at(parameters or layer.theta, { buffers = before })(input) + 0
      end, inputs, layer:describe_self())
      same_bits(layer.buffers, before, "buffers")
    end)
  end
end)

-- ---- average pooling, against the definition ----

describe("Conv2d's padding_mode", function()
  -- where pixel i of 1 .. n stands outside: written down for n = 4, padding 3
  local seen = { reflect = { 4, 3, 2, 1, 2, 3, 4, 3, 2, 1 }, replicate = { 1, 1, 1, 1, 2, 3, 4, 4, 4, 4 },
    circular = { 2, 3, 4, 1, 2, 3, 4, 1, 2, 3 } }
  local x = plumb.randn({ 2, 3, 4, 4 }, { dtype = "float64", seed = 1 })

  it("fills the padding with the image", function()
    for mode, places in pairs(seen) do
      local conv = nn.Conv2d(3, 2, { 3, 4 }, { padding = 3, stride = { 1, 2 }, padding_mode = mode }):double()
      local index = plumb.tensor(places, { dtype = "int64" })
      local function plain(t)
        local image = t:index_select(3, index):index_select(4, index)
        return image:conv2d(conv.weight, { 1, 2 }) + conv.bias:reshape(1, 2, 1, 1)
      end
      same_bits(conv(x), plain(x), mode)
      local function gradient(f) return plumb.grad(function(t) return f(t):square():sum() end)(x) end
      same_numbers(flat(gradient(conv)), flat(gradient(plain)), 1e-12, mode .. ": gradient")
      assert.matches(("padding = 3, padding_mode = %s"):format(mode), tostring(conv), 1, true)
    end
  end)

  it("goes together with 'same', more behind than before", function()
    local conv = nn.Conv2d(3, 1, { 4, 1 }, { padding = "same", padding_mode = "circular", bias = false }):double()
    local index = plumb.tensor({ 4, 1, 2, 3, 4, 1, 2 }, { dtype = "int64" })
    same_bits(conv(x), x:index_select(3, index):conv2d(conv.weight), "same")
  end)

  it("says where the image is too small for it", function()
    for mode, least in pairs { reflect = 5, circular = 4 } do
      local model = nn.Sequential { nn.Identity(), nn.Conv2d(3, 2, 3, { padding = { 1, 4 }, padding_mode = mode }) }
      fails_here(function() model(plumb.zeros(1, 3, 9, least - 1)) end, "layer 2 of Sequential: Conv2d", "padding of 4", "wide", mode)
      assert.same({ 1, 2, 9, least + 6 }, model(plumb.zeros(1, 3, 9, least)):shape())
    end
    fails_here(function() nn.Conv2d(1, 1, 3, { padding_mode = "mirror" }) end, "Conv2d: padding_mode", "'reflect'", "'mirror'")
  end)
end)

describe("average pooling is the mean of each window", function()
  local function naive(x, out, window)
    local at, shape, list = support.accessor(x), x:shape(), {}
    for n = 1, shape[1] do
      for c = 1, shape[2] do
        for i = 1, out[1] do
          for j = 1, out[2] do
            local rows, columns, sum = window(1, i, shape[3]), window(2, j, shape[4]), 0
            for r = math.max(rows[1], 1), math.min(rows[2], shape[3]) do
              for s = math.max(columns[1], 1), math.min(columns[2], shape[4]) do sum = sum + at(n, c, r, s) end
            end
            list[#list + 1] = sum / (rows.count * columns.count)
          end
        end
      end
    end
    return list
  end

  local sizes = { { 1, 1 }, { 1, 5 }, { 7, 4 }, { 6, 6 }, { 28, 3 } }

  it("for kernels, strides and paddings", function()
    for _, size in ipairs(sizes) do
      local x = plumb.randn({ 2, 3, size[1], size[2] }, { dtype = "float64" })
      for kernel = 1, 4 do
        for stride = 1, 3 do
          for padding = 0, kernel // 2 do
            if kernel <= math.min(size[1], size[2]) + 2 * padding then
              for _, counts in ipairs { true, false } do
                local y = x:avg_pool2d(kernel, stride, padding, counts)
                local out = { (size[1] + 2 * padding - kernel) // stride + 1, (size[2] + 2 * padding - kernel) // stride + 1 }
                assert.same({ 2, 3, out[1], out[2] }, y:shape())
                same_numbers(flat(y), naive(x, out, function(_, i, length)
                  local first = (i - 1) * stride + 1 - padding
                  local last = first + kernel - 1
                  return { first, last, count = counts and kernel or math.min(last, length) - math.max(first, 1) + 1 }
                end), 1e-13, ("size %d, %d, kernel %d, stride %d, padding %d"):format(size[1], size[2], kernel, stride, padding))
              end
            end
          end
        end
      end
    end
  end)

  it("rounded up, where a last window reaches beyond the image: as of an image that goes on with what does not count", function()
    for _, size in ipairs { { 5, 7 }, { 4, 5 }, { 6, 6 }, { 1, 3 }, { 33, 35 } } do
      local x = plumb.rand({ 2, 3, size[1], size[2] }, { dtype = "float64", seed = size[1] }) + 1 -- zeros lose everywhere
      local down, right = size[1] % 2, size[2] % 2
      local function padded(t) return t:pad(3, 0, down):pad(4, 0, right) end
      local function largest(t) return padded(t):max_pool2d(2) end
      local pool = nn.MaxPool2d(2, { ceil_mode = true })
      same_bits(pool(x), largest(x), "largest")
      local w = plumb.randn(pool(x):shape(), { dtype = "float64", seed = 2 })
      same_bits(plumb.grad(function(t) return (pool(t) * w):sum() end)(x),
        plumb.grad(function(t) return (largest(t) * w):sum() end)(x), "gradient")
      local there = padded(plumb.ones({ 1, 1, size[1], size[2] }, { dtype = "float64" })):avg_pool2d(2)
      same_numbers(flat(nn.AvgPool2d(2, { ceil_mode = true })(x)), flat(padded(x):avg_pool2d(2) / there), 1e-14, "mean")
    end
    local one = plumb.ones({ 1, 1, 3, 3 }, { dtype = "float64" })
    -- the third window would begin in the padding behind, and so is none; PyTorch's rule
    assert.same({ 1, 1, 2, 2 }, nn.MaxPool2d(2, { padding = 1, stride = 3, ceil_mode = true })(one):shape())
    assert.same({ 0.25, 0.5, 0.5, 1 }, flat(nn.AvgPool2d(2, { padding = 1, ceil_mode = true })(one)))
    assert.equal("AvgPool2d(2, padding = 1, ceil_mode = true)", tostring(nn.AvgPool2d(2, { padding = 1, ceil_mode = true })))
  end)

  it("for windows that follow from the size", function()
    for _, size in ipairs(sizes) do
      local x = plumb.randn({ 2, 3, size[1], size[2] }, { dtype = "float64" })
      for height = 1, 8 do
        local out = { height, 3 }
        same_numbers(flat(x:adaptive_avg_pool2d(out)), naive(x, out, function(axis, i, length)
          local first, last = math.floor((i - 1) * length / out[axis]) + 1, math.ceil(i * length / out[axis])
          return { first, last, count = last - first + 1 }
        end), 1e-13, "size " .. size[1] .. ", " .. size[2] .. " to " .. height)
      end
      same_bits(nn.AdaptiveAvgPool2d { nil, size[2] }(x), x, "the same size")
      same_numbers(flat(nn.AdaptiveAvgPool2d(1)(x)), flat(x:mean({ 3, 4 })), 1e-13, "the mean of all")
    end
  end)
end)

-- ---- initialisation ----

describe("first values", function()
  it("of Conv2d are uniform in +-1/sqrt(inputs / groups * kernel)", function()
    plumb.manual_seed(4)
    local layer = nn.Conv2d(8, 200, { 3, 5 }, { groups = 4 })
    assert.same({ 200, 2, 3, 5 }, layer.weight:shape())
    local bound = 1 / math.sqrt(2 * 3 * 5)
    for _, name in ipairs { "weight", "bias" } do
      local values = layer[name]
      local n, variance = values:numel(), bound ^ 2 / 3
      local largest = values:abs():max():item()
      assert.is_true(largest <= bound * (1 + 1e-6) and largest > bound * (1 - 10 / n), name)
      assert.is_true(math.abs(values:mean():item()) < 4 * math.sqrt(variance / n), name)
      assert.is_true(math.abs(values:square():mean():item() - variance) < 4 * math.sqrt(4 * bound ^ 4 / 45 / n), name)
    end
  end)

  it("of normalisations are 1 and 0, in the model's theta and buffers", function()
    local model = nn.Sequential { nn.BatchNorm2d(2), nn.Sequential { nn.LayerNorm { 1, 2 }, nn.BatchNorm1d(1) } }
    assert.same({ 1, 1, 0, 0, 1, 1, 0, 0, 1, 0 }, flat(model.theta))
    assert.same({ 0, 0, 1, 1, 0, 0, 1, 0 }, flat(model.buffers))
    assert.same({ 0, 1, 0 }, flat(model[2].buffers))
    assert.same({ 1, 1 }, flat(model[1].running_var))
    assert.same({ 0, "int64", 0 }, { model[1].num_batches_tracked:item(), model[1].num_batches_tracked:dtype(),
      model[1].num_batches_tracked:dim() })
    assert.same({ 10, 8 }, { model.size, model.buffer_size })
    assert.equal(0, nn.BatchNorm1d(3, { affine = false, track_running_stats = false }).buffer_size)
  end)

  it("draw nothing where they are constants", function()
    plumb.manual_seed(1)
    local first = nn.Linear(2, 2).theta
    plumb.manual_seed(1)
    nn.BatchNorm1d(3)
    same_bits(nn.Linear(2, 2).theta, first, "theta")
  end)

  it("make the numbers of parameters of the two networks", function()
    local simple = nn.Sequential { nn.Conv2d(1, 32, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2),
      nn.Conv2d(32, 64, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(),
      nn.Linear(128, 10) }
    assert.equal(421642, simple.theta:numel())
    assert.same({ 2, 10 }, simple(plumb.rand(2, 1, 28, 28)):shape())
  end)
end)

-- ---- what is refused ----

describe("layers say what is wrong", function()
  local function inside(layer) return nn.Sequential { nn.Identity(), nn.Identity(), layer } end

  it("with their input, and where they stand", function()
    local conv = inside(nn.Conv2d(2, 4, { 3, 5 }))
    local place = "layer 3 of Sequential: Conv2d(2, 4, {3, 5})"
    fails_here(function() conv(plumb.zeros(1, 3, 8, 8)) end, place, "(n, 2, height, width)", "(1, 3, 8, 8)")
    fails_here(function() conv(plumb.zeros(2, 8, 8)) end, place, "(2, 8, 8)", "unsqueeze(1)")
    fails_here(function() conv(plumb.zeros(1, 2, 8, 4)) end, place, "a kernel 5 wide", "(1, 2, 8, 4)", "4 wide")
    fails_here(function() conv(plumb.zeros(1, 2, 2, 8)) end, place, "a kernel 3 high")
    fails_here(function() conv(plumb.zeros(0, 2, 8, 8)) end, place, "the batch is empty")
    fails_here(function() conv(plumb.zeros(1, 2, 0, 0)) end, place, "images are empty")
    fails_here(function() conv(plumb.zeros(1, 2, 8, 8):long()) end, place, "int64", ":float()")
    fails_here(function() conv(plumb.zeros(1, 2, 8, 8):double()) end, place, "float64", "float32")
    fails_here(function() conv("x") end, "layer 1 of Sequential: Identity()", "a tensor, not string")
    fails_here(function() nn.Conv2d(1, 1, 3, { padding = 1, dilation = 2 })(plumb.zeros(1, 1, 2, 9)) end,
      "a kernel 5 high (with its dilation)", "4 high with their padding")
    for _, pool in ipairs { nn.MaxPool2d(3), nn.AvgPool2d(3) } do
      local text = tostring(pool)
      fails_here(function() inside(pool)(plumb.zeros(1, 1, 2, 3)) end, "layer 3 of Sequential: " .. text, "3 high", "2 high")
      fails_here(function() pool(plumb.zeros(0, 1, 3, 3)) end, text, "the batch is empty")
      fails_here(function() pool(plumb.zeros(2, 1, 0, 3)) end, text, "the images are empty", "(2, 1, 0, 3)")
      fails_here(function() pool(plumb.zeros(1, 3, 3)) end, text, "(n, channels, height, width)")
      fails_here(function() pool(plumb.zeros(1, 1, 3, 3):long()) end, text, "int64", ":float()")
    end
    fails_here(function() nn.AdaptiveAvgPool2d(1)(plumb.zeros(1, 1, 0, 3)) end, "AdaptiveAvgPool2d(1)", "images are empty")
    fails_here(function() nn.Conv2d(1, 1, 1, { padding = 1 })(plumb.zeros(1, 1, 0, 3)) end, "Conv2d", "images are empty")
    fails_here(function() nn.Dropout()(plumb.zeros(3):long()) end, "Dropout(0.5)", "int64")
  end)

  it("with their axis", function()
    local x = plumb.randn(2, 3)
    same_bits(nn.Softmax()(x), x:softmax(2), "the last axis")
    same_bits(nn.Softmax(1)(x), x:softmax(1), "the first")
    same_bits(nn.LogSoftmax(2)(x), x:log_softmax(2), "logarithms")
    fails_here(function() inside(nn.Softmax(3))(x) end, "layer 3 of Sequential: Softmax(3)", "(2, 3)")
    fails_here(function() nn.LogSoftmax(0)(x) end, "LogSoftmax(0)", "count from 1")
    fails_here(function() nn.Softmax(1.5) end, "Softmax: axis must be an integer")
  end)

  it("with what they normalise", function()
    local norm = inside(nn.BatchNorm2d(3))
    local place = "layer 3 of Sequential: BatchNorm2d(3)"
    fails_here(function() norm(plumb.zeros(4, 2, 5, 5)) end, place, "(n, 3, height, width)", "(4, 2, 5, 5)")
    fails_here(function() norm(plumb.zeros(4, 3)) end, place, "(4, 3)")
    fails_here(function() norm(plumb.zeros(1, 3, 1, 1)) end, place, "one value per channel", "model:eval()",
      "drop_last")
    fails_here(function() norm(plumb.zeros(0, 3, 2, 2)) end, place, "no value per channel")
    fails_here(function() norm(plumb.zeros(2, 3, 2, 2):long()) end, place, "int64")
    fails_here(function() nn.BatchNorm1d(3, { affine = false })(plumb.zeros(2, 3):long()) end, "int64", ":float()")
    fails_here(function() nn.BatchNorm1d(3)(plumb.zeros(1, 3)) end, "BatchNorm1d(3)", "(1, 3)", "one value")
    fails_here(function() nn.BatchNorm1d(3)(plumb.zeros(3)) end, "(n, 3) or (n, 3, length)", "(3)")
    assert.same({ 1, 3 }, nn.BatchNorm1d(3):eval()(plumb.zeros(1, 3)):shape())
    assert.same({ 0, 3 }, nn.BatchNorm1d(3):eval()(plumb.zeros(0, 3)):shape())
    fails_here(function() inside(nn.LayerNorm { 2, 3 })(plumb.zeros(4, 3, 2)) end, "layer 3 of Sequential: LayerNorm({2, 3})",
      "(..., 2, 3)", "(4, 3, 2)")
    fails_here(function() nn.LayerNorm { 2, 3 }(plumb.zeros(3)) end, "(3)")
    fails_here(function() nn.LayerNorm(3)(plumb.zeros(2, 3):long()) end, "int64")
  end)

  it("with their arguments", function()
    local function refused(name, arguments, ...)
      local texts = { ... }
      fails_here(function() return (nn[name](table.unpack(arguments, 1, arguments.n or #arguments))) end, name,
        table.unpack(texts))
    end
    refused("Conv2d", { 1, 2 }, "kernel", "nil")
    refused("Conv2d", { 0, 2, 3 }, "inputs", "at least 1")
    refused("Conv2d", { 1, 2.5, 3 }, "outputs must be an integer")
    refused("Conv2d", { 1, 2, 0 }, "kernel", "at least 1")
    refused("Conv2d", { 1, 2, { 1, 2, 3 } }, "kernel", "two", "3")
    refused("Conv2d", { 1, 2, 3, { strid = 1 } }, "no option 'strid'", "stride")
    refused("Conv2d", { 1, 2, 3, 1 }, "options are a table")
    refused("Conv2d", { 1, 2, 3, { stride = 0 } }, "stride")
    refused("Conv2d", { 1, 2, 3, { padding = -1 } }, "padding")
    refused("Conv2d", { 1, 2, 3, { padding = "full" } }, "'same' or 'valid'", "'full'")
    refused("Conv2d", { 1, 2, 3, { padding = "same", stride = 2 } }, "stride of 1")
    refused("Conv2d", { 1, 2, 3, { bias = 0 } }, "bias must be true or false")
    refused("Linear", { 1, 2, { bias = "no" } }, "bias must be true or false")
    refused("Flatten", { 2, 3 }, "takes no arguments")
    refused("CrossEntropyLoss", { { label_smoothing = 0.1 } }, "takes no arguments")
    refused("MSELoss", { { reduction = "sum" } }, "takes no arguments")
    refused("Conv2d", { 3, 4, 3, { groups = 2 } }, "2 groups do not divide 3 inputs")
    refused("MaxPool2d", {}, "kernel")
    refused("MaxPool2d", { 2, { padding = 2 } }, "at most half the kernel")
    refused("AvgPool2d", { 2, { count_include_pad = 1 } }, "count_include_pad must be true or false")
    refused("AdaptiveAvgPool2d", {}, "a size")
    refused("AdaptiveAvgPool2d", { 0 }, "size")
    refused("AdaptiveAvgPool2d", { { 1, 2, 3 } }, "{height, width}")
    refused("MaxPool2d", { 2, { ceil_mode = 1 } }, "ceil_mode must be true or false")
    refused("BatchNorm2d", {}, "features")
    refused("BatchNorm2d", { 3, { momentum = 2 } }, "momentum", "from 0 to 1")
    refused("BatchNorm1d", { 3, { affine = 1 } }, "affine must be true or false")
    refused("BatchNorm1d", { 3, { eps = "small" } }, "eps")
    refused("LayerNorm", {}, "shape")
    refused("LayerNorm", { { 3, 0 } }, "shape", "at least 1")
    refused("LayerNorm", { 3, { bias = false } }, "no option 'bias'")
    refused("Dropout", { 1.5 }, "p must be a number from 0 to 1")
    refused("Dropout", { "half" }, "p must be a number")
    fails_here(function() nn.Conv2d(1 << 30, 1 << 30, 1 << 20) end, "too large")
    fails_here(function() plumb.zeros(1, 1, 2, 2):avg_pool2d(3) end, "avg_pool2d", "kernel of 3", "(1, 1, 2, 2)")
    fails_here(function() plumb.zeros(2, 2):avg_pool2d(1) end, "avg_pool2d", "(2, 2)")
    fails_here(function() plumb.zeros(1, 1, 4, 4):avg_pool2d(2, 2, 2) end, "padding 2")
    fails_here(function() plumb.zeros(1, 1, 4, 4):adaptive_avg_pool2d(0) end, "size")
  end)
end)
