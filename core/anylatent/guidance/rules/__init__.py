"""How a prediction and a weaker one are made one."""
