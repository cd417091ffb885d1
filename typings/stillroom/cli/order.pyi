from cli.order import *
