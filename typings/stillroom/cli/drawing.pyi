from cli.drawing import *
