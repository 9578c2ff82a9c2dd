"""Plain nn.Modules, injected into the models: one file per family, every public class a network that YAML can name."""
