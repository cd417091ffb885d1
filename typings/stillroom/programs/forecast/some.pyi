from programs.forecast.some import *
