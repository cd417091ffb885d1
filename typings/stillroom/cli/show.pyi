from cli.show import *
