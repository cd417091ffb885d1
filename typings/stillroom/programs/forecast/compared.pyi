from programs.forecast.compared import *
