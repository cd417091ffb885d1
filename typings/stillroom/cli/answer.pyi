from cli.answer import *
