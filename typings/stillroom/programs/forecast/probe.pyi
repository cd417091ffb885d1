from programs.forecast.probe import *
