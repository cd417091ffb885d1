from cli.sweep_page import *
