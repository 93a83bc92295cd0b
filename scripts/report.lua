--- The whole course as one page: every experiment, or finished runs (--from), as DIR/report.html and DIR/report.md.
--
-- The experiments run side by side, one to a core, and what each prints is kept in its folder. One that fails is named on the
-- page with its error. A report that was stopped goes on with --resume DIR: finished experiments are taken as they are.
-- The exit code is 1 when an experiment failed. To report on experiments of your own, copy this file beside them and change the
-- list. cost: rough seconds on one core, of the quick form and of the whole; what takes longest begins first. experiment,
-- settings, quick (what differs there), question and task: for a script that has another section already.
require("plumb.experiment.report").write {
  title = "Deep against shallow, optimisation, generalisation",
  subtitle = "How neural networks learn: the experiments of the course, their figures and what they say",
  description = "Runs all experiments, or takes finished runs, and writes one page about them.",
  sections = {
    { "simulate_function", "Simulate a function", number = "1", cost = { 12, 280 } },
    { "train_cnn", "Train on an actual task", number = "2", cost = { 7, 660 } },
    { "visualize_optimization", "Visualise the optimisation", number = "3", cost = { 2, 11 } },
    { "gradient_norm", "Gradient norm", number = "4", cost = { 1, 5 } },
    { "minimal_ratio", "Gradient almost zero", number = "5", cost = { 3, 260 } },
    { "random_labels", "Random labels", number = "6", cost = { 20, 500 } },
    { "capacity", "Parameters against generalisation", number = "7", cost = { 1, 550 } },
    { "capacity_threshold", "Parameters against generalisation: around samples x classes", number = "8", cost = { 4, 30 },
      experiment = "capacity", question = "What happens where a network just manages to fit its labels?",
      task = { "Networks 784-H-10 again, but small ones on few images, a share of which have random labels: from networks that "
        .. "can't fit them to those that can. Where one just manages, at about one parameter for each sample and class, the test "
        .. "loss has a peak; behind it the loss falls again (double descent: Belkin et al. 2019, Nakkiran et al. 2020)." },
      settings = { widths = { 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 128, 256, 512 }, epochs = 400, samples = 1000,
        noise = 0.2, batch = 100, lr = 2e-3 },
      quick = { widths = { 1, 2, 4, 8, 16, 64, 256 }, epochs = 200, samples = 500, batch = 50 } },
    { "flatness", "Flatness against generalisation: between two solutions", number = "9", cost = { 8, 54 } },
    { "flatness_batches", "Flatness against generalisation: by batch size", number = "10", cost = { 4, 126 } },
    { "surface", "The loss surface", number = "11", cost = { 4, 81 } },
  },
}
