from cli.report_plots import *
